"""Post-training conversion of the entropy path to integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.integer_path.conversion.coding_loop import coded_bits
from ptp_calibration.integer_path.conversion.layer_from_float import Converted, Readings, converted
from ptp_calibration.integer_path.conversion.observe import Observation, joined, observe
from ptp_calibration.integer_path.conversion.scales import plan
from ptp_calibration.integer_path.errors import ConversionError
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
    return convert_together({"": network}, {"": samples}, (), precision).paths[""]


@dataclass(frozen=True)
class TogetherPaths:
    """Entropy paths of several tasks whose graphs differ in the weights of the tasks' own layers only.

    Attributes:
        paths: by task.
        own: names of the layers whose weights are the task's: its hyper prompts, and the layers that add them.
        units: of every tensor that is the same for all tasks, as its readers see it, and of the own layers' outputs
            the clips; what a further task has to keep to.
        mu_shift: see :class:`~ptp_calibration.integer_path.integer_network.IntegerNetwork`.
    """

    paths: Mapping[str, IntegerPath]
    own: tuple[str, ...]
    units: Mapping[str, Unit]
    mu_shift: int


def convert_together(
    networks: Mapping[str, EntropyNetwork],
    samples: Mapping[str, Sequence[LatentSample]],
    own: Sequence[str],
    precision: IntegerPrecision = DEFAULT_PRECISION,
) -> TogetherPaths:
    """Convert the networks of several tasks of one codec: all but a task's own layers become equal layers.

    All tensors have one unit for all tasks, found on the samples of all of them.

    Args:
        networks, samples, precision: see :func:`convert`; by task.
        own: names of the hyper layers whose weights are the task's.

    Raises:
        ConversionError: as :func:`convert`; or the networks differ in more than the weights of those layers.
    """
    _require_alike(networks, own)
    seen = {task: observe(network, samples[task]) for task, network in networks.items()}
    conversion = _Conversion(networks, samples, seen, own, precision)
    integers = conversion.run()
    return TogetherPaths(
        {
            task: _finished(
                networks[task], integers[task], samples[task], seen[task], conversion.clipped[task], precision
            )
            for task in networks
        },
        tuple(own),
        conversion.shared_units(),
        conversion.mu_shift,
    )


def _finished(
    network: EntropyNetwork,
    integers: IntegerNetwork,
    samples: Sequence[LatentSample],
    seen: Observation,
    clipped: Mapping[str, float],
    precision: IntegerPrecision,
) -> IntegerPath:
    graphs = onnx_from_layers(integers)
    report = ConversionReport(
        precision=precision,
        float_bits=seen.bits,
        integer_bits=coded_bits(network, graphs, samples),
        symbols=tuple(sample.y.size for sample in samples),
        clipped=clipped,
    )
    return IntegerPath(graphs, prove(graphs), report)


def _require_alike(networks: Mapping[str, EntropyNetwork], own: Sequence[str]) -> None:
    """Refuse networks that are not of one codec."""
    first, *others = networks.values()
    for other in others:
        if [step.name for step in other.steps] != [step.name for step in first.steps]:
            raise ConversionError("the networks of the tasks have different steps; expected one codec")
        pairs = [*zip(first.hyper, other.hyper, strict=False)]
        if len(first.hyper) != len(other.hyper):
            raise ConversionError("the tasks have prompts of different shapes; expected layers for layers the same")
        for ours, theirs in pairs:
            same = (ours.name, ours.inputs, ours.weight.shape, ours.relu, ours.shuffle) == (
                theirs.name, theirs.inputs, theirs.weight.shape, theirs.relu, theirs.shuffle,
            )  # fmt: skip
            if not same:
                raise ConversionError(f"the layer {ours.name} has another shape in another task; expected one shape")
            equal = np.array_equal(ours.weight, theirs.weight) and np.array_equal(ours.bias, theirs.bias)
            if not equal and ours.name not in own:
                raise ConversionError(f"the layer {ours.name} differs between tasks; expected one codec")
        for ours_step, theirs_step in zip(first.steps, other.steps, strict=True):
            for mine, yours in zip(ours_step.layers, theirs_step.layers, strict=True):
                if not (np.array_equal(mine.weight, yours.weight) and np.array_equal(mine.bias, yours.bias)):
                    raise ConversionError(f"the step's layer {mine.name} differs between tasks; expected one codec")


class _Conversion:
    """Layer after layer, over all samples of all tasks at once: each is corrected on what the converted ones before it
    give. A task's own layer is converted on the task's samples alone.

    Contexts are the float path's own decoded latents, so that float and integer layers are compared on equal inputs.
    """

    def __init__(
        self,
        networks: Mapping[str, EntropyNetwork],
        samples: Mapping[str, Sequence[LatentSample]],
        seen: Mapping[str, Observation],
        own: Collection[str],
        precision: IntegerPrecision,
    ) -> None:
        self.clipped: dict[str, dict[str, float]] = {task: {} for task in networks}
        self._networks, self._seen, self._own, self._precision = networks, seen, frozenset(own), precision
        self._network = next(iter(networks.values()))
        self._all = joined(list(seen.values()))
        decided = plan(self._network, self._all, precision)
        self._terms = {name: 1 if name in self._own else count for name, count in decided.terms.items()}
        self._units = {task: dict(decided.units) for task in networks}
        limit = decided.units[MU_HYPER].limit
        self.mu_shift = MU_BITS - limit.bit_length()
        self._layers: dict[str, dict[str, IntegerLayer]] = {task: {} for task in networks}
        self._live: dict[str, list[dict[str, Array]]] = {
            task: [{Z_HAT: sample.z.astype(np.float32)} for sample in samples[task]] for task in networks
        }
        self._widths = {Z_HAT: self._network.hyper_channels, Y_INT: self._network.latent_channels}

    def run(self) -> dict[str, IntegerNetwork]:
        """Convert everything."""
        for number, layer in enumerate(self._network.hyper):
            if layer.name in self._own:
                self._convert_own(number)
            else:
                self._convert(layer, head=False)
        self._begin_steps()
        shared = self._network.shared_layers()
        kept = {Y_INT, *HYPER_PARAMETERS}
        for step in self._network.steps:
            for layer in step.layers:
                self._convert(layer, layer.name in step.heads)
            kept.update(shared[step.name])
            for tensors, y_int in zip(self._everywhere(), self._all.y_int, strict=True):
                _copy_coded(step, y_int, tensors[Y_INT])
                _keep(tensors, kept)
        return {
            task: IntegerNetwork(network, self._layers[task], self._units[task], self.mu_shift)
            for task, network in self._networks.items()
        }

    def shared_units(self) -> dict[str, Unit]:
        """See :attr:`TogetherPaths.units`."""
        return dict(next(iter(self._units.values())))

    def _everywhere(self) -> list[dict[str, Array]]:
        """The tensors of all samples of all tasks."""
        return [tensors for of_task in self._live.values() for tensors in of_task]

    def _begin_steps(self) -> None:
        for tensors, y_int in zip(self._everywhere(), self._all.y_int, strict=True):
            _keep(tensors, HYPER_PARAMETERS)
            tensors[Y_INT] = np.zeros_like(y_int)

    def _convert(self, layer: Layer, head: bool) -> None:
        """A layer that all tasks share."""
        units = next(iter(self._units.values()))
        live = self._everywhere()
        done = self._converted(layer, units, live, units[layer.name], self._all.means[layer.name], head)
        for task in self._networks:
            self._take(task, layer, done)
        self._finish(layer, live, done.tensors)

    def _convert_own(self, number: int) -> None:
        """A layer of which each task has its own; what others read of it has one unit, the coarsest that any needs."""
        name = self._network.hyper[number].name
        wanted = next(iter(self._units.values()))[name]
        while True:
            found = {}
            for task, network in self._networks.items():
                layer, mean = network.hyper[number], self._seen[task].means[name]
                found[task] = self._converted(layer, self._units[task], self._live[task], wanted, mean, head=False)
            shift = self.mu_shift if name == MU_HYPER else 0
            coarsest = np.ldexp(np.max([done.unit.scale for done in found.values()], 0), shift)
            if np.array_equal(coarsest, wanted.scale):
                break
            wanted = Unit(coarsest, wanted.limit)
        for task, network in self._networks.items():
            self._take(task, network.hyper[number], found[task])
            self._finish(network.hyper[number], self._live[task], found[task].tensors)

    def _converted(
        self,
        layer: Layer,
        units: Mapping[str, Unit],
        live: Sequence[Mapping[str, Array]],
        unit: Unit,
        mean: NDArray[np.float64],
        head: bool,
    ) -> Converted:
        read = pieces(layer.inputs, self._widths)
        readings = Readings(read, {piece.tensor: units[piece.tensor] for piece in read}, live)
        shift = self.mu_shift if layer.name == MU_HYPER else 0
        wanted = Unit(np.ldexp(unit.scale, -shift), 2**MU_BITS - 1) if shift else unit
        return converted(layer, wanted, mean, readings, self._precision, head, self._terms[layer.name])

    def _take(self, task: str, layer: Layer, done: Converted) -> None:
        shift = self.mu_shift if layer.name == MU_HYPER else 0
        limit = self._units[task][layer.name].limit
        self._layers[task][layer.name], self.clipped[task][layer.name] = done.layer, done.clipped
        # A shift of the whole range -8191 … 8191 ends one step lower than it does above.
        self._units[task][layer.name] = Unit(np.ldexp(done.unit.scale, shift), limit + 1) if shift else done.unit

    def _finish(self, layer: Layer, live: Sequence[dict[str, Array]], outputs: Sequence[Array]) -> None:
        shift = self.mu_shift if layer.name == MU_HYPER else 0
        self._widths[layer.name] = layer.channels
        for tensors, x in zip(live, outputs, strict=True):
            tensors[layer.name] = np.floor(np.ldexp(x, -shift)) if shift else x


def _keep(tensors: dict[str, Array], names: Collection[str]) -> None:
    for name in set(tensors) - set(names):
        del tensors[name]


def _copy_coded(step: StepNetwork, y_int: Array, target: Array) -> None:
    """Copy what a step codes from the finished latent."""
    part = in_box(target[slice(*step.channels)], step.region)
    coded = np.broadcast_to(coded_positions(step.region, *part.shape[-2:]), part.shape)
    np.copyto(part, in_box(y_int[slice(*step.channels)], step.region), where=coded)
