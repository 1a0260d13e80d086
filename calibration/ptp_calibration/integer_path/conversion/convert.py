"""Post-training conversion of the entropy path to integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ptp_calibration.integer_path.conversion.coding_loop import coded_bits
from ptp_calibration.integer_path.conversion.layer_from_float import Readings, converted
from ptp_calibration.integer_path.conversion.observe import Observation, observe
from ptp_calibration.integer_path.conversion.scales import plan
from ptp_calibration.integer_path.integer_network import IntegerLayer, IntegerNetwork, Unit
from ptp_calibration.integer_path.network import (
    HYPER_PARAMETERS,
    MU_HYPER,
    Y_INT,
    Z_HAT,
    EntropyNetwork,
    LatentSample,
    Layer,
    StepNetwork,
)
from ptp_calibration.integer_path.onnx_from_layers import onnx_from_layers
from ptp_calibration.integer_path.precision import DEFAULT_PRECISION, MU_BITS, IntegerPrecision
from ptp_calibration.integer_path.proof.certificate import LayerProof, prove
from ptp_calibration.integer_path.tensors import Array, coded_positions, in_box, pieces


@dataclass(frozen=True)
class ConversionReport:
    """What the conversion cost on its own samples.

    Attributes:
        precision: bits of weights and activations.
        float_bits, integer_bits: of y, of each sample in order.
        symbols: numbers of y of each sample.
        clipped: layer's name → share of its activations that its Clip changed (a ReLU's zeros not counted).
    """

    precision: IntegerPrecision
    float_bits: tuple[float, ...]
    integer_bits: tuple[float, ...]
    symbols: tuple[int, ...]
    clipped: Mapping[str, float]

    @property
    def cost(self) -> float:
        """Bits of y that the integer path needs more, as a share of the float path's: 0.003 is 0.3 %."""
        return sum(self.integer_bits) / sum(self.float_bits) - 1


@dataclass(frozen=True)
class IntegerPath:
    """The converted entropy path.

    Attributes:
        graphs: ``hyper``, ``step_00``, … in coding order; ONNX.
        proofs: the certificate, made from these graphs.
        report: what the conversion cost.
    """

    graphs: Mapping[str, onnx.ModelProto]
    proofs: tuple[LayerProof, ...]
    report: ConversionReport


def convert(
    network: EntropyNetwork, samples: Sequence[LatentSample], precision: IntegerPrecision = DEFAULT_PRECISION
) -> IntegerPath:
    """Convert the float network, calibrated on samples.

    Args:
        network: in real units.
        samples: latents of real photos, of every rate that will be coded.
        precision: bits of weights and activations.

    Raises:
        ConversionError: no sample, one that does not fit the network, or a layer that no allowed precision fits.
    """
    seen = observe(network, samples)
    conversion = _Conversion(network, samples, seen, precision)
    graphs = onnx_from_layers(conversion.run())
    proofs = prove(graphs)
    report = ConversionReport(
        precision=precision,
        float_bits=seen.bits,
        integer_bits=coded_bits(network, graphs, samples),
        symbols=tuple(sample.y.size for sample in samples),
        clipped=conversion.clipped,
    )
    return IntegerPath(graphs, proofs, report)


class _Conversion:
    """Layer after layer, over all samples at once: each is corrected on what the converted ones before it give.

    Contexts are the float path's own decoded latents, so that float and integer layers are compared on equal inputs.
    """

    def __init__(
        self,
        network: EntropyNetwork,
        samples: Sequence[LatentSample],
        seen: Observation,
        precision: IntegerPrecision,
    ) -> None:
        self.clipped: dict[str, float] = {}
        self._network, self._seen, self._precision = network, seen, precision
        decided = plan(network, seen, precision)
        self._units, self._terms = dict(decided.units), decided.terms
        limit = self._units[MU_HYPER].limit
        self._mu_shift = MU_BITS - limit.bit_length()
        self._layers: dict[str, IntegerLayer] = {}
        self._live: list[dict[str, Array]] = [{Z_HAT: sample.z.astype(np.float32)} for sample in samples]
        self._widths = {Z_HAT: network.hyper_channels, Y_INT: network.latent_channels}

    def run(self) -> IntegerNetwork:
        """Convert everything."""
        for layer in self._network.hyper:
            self._convert(layer, head=False)
        for tensors, y_int in zip(self._live, self._seen.y_int, strict=True):
            _keep(tensors, HYPER_PARAMETERS)
            tensors[Y_INT] = np.zeros_like(y_int)
        shared = self._network.shared_layers()
        kept = {Y_INT, *HYPER_PARAMETERS}
        for step in self._network.steps:
            for layer in step.layers:
                self._convert(layer, layer.name in step.heads)
            kept.update(shared[step.name])
            for tensors, y_int in zip(self._live, self._seen.y_int, strict=True):
                _copy_coded(step, y_int, tensors[Y_INT])
                _keep(tensors, kept)
        return IntegerNetwork(self._network, self._layers, self._units, self._mu_shift)

    def _convert(self, layer: Layer, head: bool) -> None:
        name = layer.name
        read = pieces(layer.inputs, self._widths)
        readings = Readings(read, {piece.tensor: self._units[piece.tensor] for piece in read}, self._live)
        shift = self._mu_shift if name == MU_HYPER else 0
        unit = self._units[name]
        wanted = Unit(np.ldexp(unit.scale, -shift), 2**MU_BITS - 1) if shift else unit
        mean, count = self._seen.means[name], self._terms[name]
        done = converted(layer, wanted, mean, readings, self._precision, head, count)
        self._layers[name], self.clipped[name] = done.layer, done.clipped
        # A shift of the whole range -8191 … 8191 ends one step lower than it does above.
        self._units[name] = Unit(np.ldexp(done.unit.scale, shift), unit.limit + 1) if shift else done.unit
        self._widths[name] = layer.channels
        for tensors, x in zip(self._live, done.tensors, strict=True):
            tensors[name] = np.floor(np.ldexp(x, -shift)) if shift else x


def _keep(tensors: dict[str, Array], names: Collection[str]) -> None:
    for name in set(tensors) - set(names):
        del tensors[name]


def _copy_coded(step: StepNetwork, y_int: Array, target: Array) -> None:
    """Copy what a step codes from the finished latent."""
    part = in_box(target[slice(*step.channels)], step.region)
    coded = np.broadcast_to(coded_positions(step.region, *part.shape[-2:]), part.shape)
    np.copyto(part, in_box(y_int[slice(*step.channels)], step.region), where=coded)
