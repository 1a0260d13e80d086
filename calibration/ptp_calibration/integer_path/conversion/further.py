"""One more task for an integer entropy path that exists: its hyper prompts in the units that the path has.

Nothing that other tasks use is touched: the layers of the codec stay the integers they are, and what the task's own
layers give comes in the units that the steps read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import onnx
from numpy.typing import NDArray

from ptp_calibration.cpu_session import CpuSession
from ptp_calibration.integer_path.conversion.convert import TogetherPaths
from ptp_calibration.integer_path.conversion.layer_from_float import Readings, converted
from ptp_calibration.integer_path.conversion.observe import observe
from ptp_calibration.integer_path.errors import ConversionError
from ptp_calibration.integer_path.integer_network import Unit
from ptp_calibration.integer_path.network import MU_HYPER, Z_HAT, EntropyNetwork, LatentSample
from ptp_calibration.integer_path.onnx_from_layers import hyper_name, single_term_weights
from ptp_calibration.integer_path.precision import MU_BITS, IntegerPrecision
from ptp_calibration.integer_path.tensors import Array, pieces

SCHEMA = 1


@dataclass(frozen=True)
class Sharing:
    """What a further task has to keep to.

    Attributes:
        own: names of the layers that each task has of its own.
        units: of every tensor of the hyper network, as its readers see it.
        mu_shift: see :class:`~ptp_calibration.integer_path.integer_network.IntegerNetwork`.
        precision: of the conversion.
    """

    own: tuple[str, ...]
    units: Mapping[str, Unit]
    mu_shift: int
    precision: IntegerPrecision

    @classmethod
    def of(cls, together: TogetherPaths, network: EntropyNetwork) -> Sharing:
        """Of a finished conversion of several tasks, one of which has this network."""
        names = (Z_HAT, *(layer.name for layer in network.hyper))
        report = next(iter(together.paths.values())).report
        units = {name: together.units[name] for name in names}
        return cls(together.own, units, together.mu_shift, report.precision)

    def to_json(self) -> bytes:
        """As a file."""
        document = {
            "schema": SCHEMA,
            "own": list(self.own),
            "mu_shift": self.mu_shift,
            "weight_bits": self.precision.weight_bits,
            "activation_bits": self.precision.activation_bits,
            "units": {
                name: {"limit": unit.limit, "scale": [float(value).hex() for value in unit.scale]}
                for name, unit in self.units.items()
            },
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Sharing:
        """Read the file.

        Raises:
            ConversionError: it is none, or damaged.
        """
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']!r}, expected {SCHEMA}")
            units = {
                str(name): Unit(_scales(entry["scale"]), int(entry["limit"]))
                for name, entry in document["units"].items()
            }
            precision = IntegerPrecision(int(document["weight_bits"]), int(document["activation_bits"]))
            return cls(tuple(map(str, document["own"])), units, int(document["mu_shift"]), precision)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConversionError(f"the units of the shared entropy path cannot be read ({error})") from error


@dataclass(frozen=True)
class FurtherTask:
    """A task in the units of a path.

    Attributes:
        tensors: weights and biases by their name in the hyper graph, exact in float32.
        float_bits: of y, of each sample, with the float networks.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    float_bits: tuple[float, ...]


def convert_further(
    network: EntropyNetwork, samples: Sequence[LatentSample], sharing: Sharing, hyper: onnx.ModelProto
) -> FurtherTask:
    """Convert a further task's own layers.

    Args:
        network: the codec's, with the task's prompts.
        samples: latents of real photos, coded with the task's prompts.
        sharing: of the path.
        hyper: the path's hyper graph with any task's prompt.

    Raises:
        ConversionError: the task's layers are other ones, or need a coarser unit than the path has.
    """
    layers = {layer.name: layer for layer in network.hyper}
    if not set(sharing.own) <= set(layers) or set(layers) - set(sharing.own) - set(sharing.units):
        raise ConversionError(
            f"the hyper network has the layers {', '.join(layers)}; expected the codec's and {', '.join(sharing.own)}"
        )
    seen = observe(network, samples)
    widths = {Z_HAT: network.hyper_channels} | {name: layer.channels for name, layer in layers.items()}
    read = {source.tensor for name in sharing.own for source in layers[name].inputs} - set(sharing.own) - {Z_HAT}
    live = _computed(hyper, sorted(read), samples)
    units = dict(sharing.units)
    found: dict[str, NDArray[np.float32]] = {}
    for name in (layer.name for layer in network.hyper if layer.name in sharing.own):
        shift = sharing.mu_shift if name == MU_HYPER else 0
        unit = sharing.units[name]
        wanted = Unit(np.ldexp(unit.scale, -shift), 2**MU_BITS - 1) if shift else unit
        inputs = pieces(layers[name].inputs, widths)
        readings = Readings(inputs, {piece.tensor: units[piece.tensor] for piece in inputs}, live)
        done = converted(layers[name], wanted, seen.means[name], readings, sharing.precision, head=False)
        last = not any(source.tensor == name for own in sharing.own for source in layers[own].inputs)
        if last and not np.array_equal(done.unit.scale, wanted.scale):
            raise ConversionError(
                f"the layer {name} of this task needs coarser units than the bundle's tasks; expected weights of "
                "about their size: export the bundle again with all its tasks"
            )
        units[name] = done.unit
        weight, bias = single_term_weights(done.layer)
        found |= {f"{hyper_name(name)}/weight": weight, f"{hyper_name(name)}/bias": bias}
        for tensors, x in zip(live, done.tensors, strict=True):
            tensors[name] = x
    return FurtherTask(found, seen.bits)


def _computed(hyper: onnx.ModelProto, names: Sequence[str], samples: Sequence[LatentSample]) -> list[dict[str, Array]]:
    """The integers of layers that the task shares, for each sample."""
    shown = onnx.ModelProto()
    shown.CopyFrom(hyper)
    present = {value.name for value in shown.graph.output}
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in present
    )
    session = CpuSession(shown)
    live = []
    for sample in samples:
        z = sample.z.astype(np.float32)
        tensors = session.run({Z_HAT: z[None]}, names) if names else {}
        live.append({Z_HAT: z} | {name: np.asarray(tensors[name], np.float32)[0] for name in names})
    return live


def _scales(values: Sequence[str]) -> NDArray[np.float64]:
    scales = np.array([float.fromhex(value) for value in values])
    if not len(scales) or not all(isfinite(value) and value > 0 for value in scales):
        raise ValueError("a scale that is no positive number")
    return scales
