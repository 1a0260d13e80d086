"""The entropy path's float network as plain values: what is converted, whatever framework it came from.

A description is checked when it is built: everything read is defined before, every shape fits, and the steps code each
position of the latent exactly once. Units are real ones, with three exceptions that belong to the coder: ``y_int`` is
read in whole sixteenths (weights that read it carry the 1/16), means come out in sixteenths and scales as (real-valued)
steps of the 64-entry table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path.errors import NetworkError

#: Quadrants of the latent, in the order in which ``"quadrants"`` stacks them as channels.
QUADRANTS = ("top-left", "bottom-left", "top-right", "bottom-right")
#: What one step can code: everything, one colour of a checkerboard, or a quadrant.
REGIONS = ("all", "anchor", "nonanchor", *QUADRANTS)
BOXES = ("all", *QUADRANTS, "quadrants")
#: Inputs of the path, and the two tensors of the hyper network that steps may read.
Z_HAT, Y_INT, MU_HYPER, SCALE_HYPER = "z_hat", "y_int", "mu_hyper", "scale_hyper"
HYPER_PARAMETERS = (MU_HYPER, SCALE_HYPER)
_COMPLETE = ({"all"}, {"anchor", "nonanchor"}, set(QUADRANTS))
#: Positions of y per position of z along each side.
HYPER_FACTOR = 4


@dataclass(frozen=True)
class Source:
    """What a layer reads.

    Attributes:
        tensor: ``z_hat``, ``y_int``, or a layer's name (``mu_hyper`` and ``scale_hyper`` are layers).
        channels: first and one-past-last channel; None: all.
        box: ``all``, the name of a quadrant, or ``quadrants``: the four stacked as channels, at half the size.
    """

    tensor: str
    channels: tuple[int, int] | None = None
    box: str = "all"


@dataclass(frozen=True)
class Layer:
    """A float convolution with stride 1, an odd kernel and zero padding that keeps the size.

    Attributes:
        name: unique in the network; names its tensor in the ONNX file.
        inputs: concatenated along channels in this order.
        weight: float32 [O, I, k, k].
        bias: float32 [O].
        relu: whether the output is clipped at 0.
        shuffle: whether PixelShuffle(2) follows: [O, h, w] → [O/4, 2h, 2w].
    """

    name: str
    inputs: tuple[Source, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    relu: bool = False
    shuffle: bool = False

    @property
    def channels(self) -> int:
        """Channels of the tensor others read."""
        return len(self.weight) // 4 if self.shuffle else len(self.weight)


@dataclass(frozen=True)
class StepNetwork:
    """The parameter network of one coding step.

    Attributes:
        name: graph name, ``step_00`` …
        channels: first and one-past-last channel of y that it codes.
        region: where: one of :data:`REGIONS`.
        layers: in order. They read ``mu_hyper``, ``scale_hyper``, ``y_int``, each other, and layers of earlier steps.
        mean, index: channel ranges of layers of this step: means in sixteenths, scales in table steps.
    """

    name: str
    channels: tuple[int, int]
    region: str
    layers: tuple[Layer, ...]
    mean: Source
    index: Source

    @property
    def heads(self) -> frozenset[str]:
        """Names of the layers that the mean and the index are read from."""
        return frozenset({self.mean.tensor, self.index.tensor})


@dataclass(frozen=True)
class EntropyNetwork:
    """Hyper synthesis and all steps.

    Attributes:
        hyper_channels: Z.
        latent_channels: M.
        skip_index: positions with a smaller table index are not coded: their residual is 0.
        hyper: layers from ``z_hat`` to the last two, ``mu_hyper`` and ``scale_hyper`` [M, 4h, 4w].
        steps: in coding order.

    Raises:
        NetworkError: on construction, if anything contradicts.
    """

    hyper_channels: int
    latent_channels: int
    skip_index: int
    hyper: tuple[Layer, ...]
    steps: tuple[StepNetwork, ...]

    def __post_init__(self) -> None:
        _check(self)

    def shared_layers(self) -> Mapping[str, tuple[str, ...]]:
        """Step's name → layers of it that later steps read."""
        owner = {layer.name: step.name for step in self.steps for layer in step.layers}
        shared: dict[str, list[str]] = {step.name: [] for step in self.steps}
        for step in self.steps:
            for name in (source.tensor for layer in step.layers for source in layer.inputs):
                home = owner.get(name, step.name)
                if home != step.name and name not in shared[home]:
                    shared[home].append(name)
        return {name: tuple(layers) for name, layers in shared.items()}


@dataclass(frozen=True)
class LatentSample:
    """What one photo gives to calibrate on.

    Attributes:
        z: int32 [Z, h, w], rounded.
        y: float32 [M, 4h, 4w], not rounded, multiplied by the gains of its rate.
    """

    z: NDArray[np.int32]
    y: NDArray[np.float32]


@dataclass(frozen=True)
class _Tensor:
    """Channels, and the side in quarters of y's: 1 where z is, 4 where y is, 2 in a quadrant."""

    channels: int
    side: int


def _check(network: EntropyNetwork) -> None:
    Z, M = network.hyper_channels, network.latent_channels
    if Z < 1 or M < 1:
        raise NetworkError(f"the network has {Z} hyper and {M} latent channels; expected at least one of each")
    if not network.steps:
        raise NetworkError("the network has no step; expected at least one")
    hyper: dict[str, _Tensor] = {Z_HAT: _Tensor(Z, 1)}
    for layer in network.hyper:
        hyper[layer.name] = _layer_output(layer, hyper)
    for name in HYPER_PARAMETERS:
        if hyper.get(name) != _Tensor(M, HYPER_FACTOR):
            found = f"{hyper[name].channels} at {hyper[name].side}h" if name in hyper else "no such layer"
            raise NetworkError(f"{name} must have {M} channels at 4h × 4w; got {found}")
    known = {name: hyper[name] for name in HYPER_PARAMETERS} | {Y_INT: _Tensor(M, HYPER_FACTOR)}
    taken = set(hyper)
    names: set[str] = set()
    for step in network.steps:
        if step.name in names or step.name == "hyper":
            raise NetworkError(f"two graphs are called {step.name}; expected different names")
        names.add(step.name)
        _check_step(step, known, taken, M)
    _check_coverage(network)
    _check_heads(network)


def _check_step(step: StepNetwork, known: dict[str, _Tensor], taken: set[str], M: int) -> None:
    """Check a step and add its layers to what later steps may read."""
    if step.region not in REGIONS:
        raise NetworkError(f"{step.name} codes the region {step.region!r}; expected one of {', '.join(REGIONS)}")
    if not 0 <= step.channels[0] < step.channels[1] <= M:
        raise NetworkError(f"{step.name} codes channels {step.channels}; expected a range within 0..{M}")
    side = HYPER_FACTOR // 2 if step.region in QUADRANTS else HYPER_FACTOR
    for layer in step.layers:
        if layer.name in taken:
            raise NetworkError(f"two tensors are called {layer.name}; expected different names in one network")
        if layer.shuffle:
            raise NetworkError(f"layer {layer.name} shuffles pixels; only layers of the hyper network may")
        output = _layer_output(layer, known)
        if output.side != side:
            raise NetworkError(f"layer {layer.name} is {output.side}h high; {step.region} of y is {side}h high")
        taken.add(layer.name)
        known[layer.name] = output
    own = {layer.name: layer for layer in step.layers}
    wanted = step.channels[1] - step.channels[0]
    for what, source in (("mean", step.mean), ("index", step.index)):
        if source.tensor not in own or source.box != "all":
            raise NetworkError(f"the {what} of {step.name} reads {source.tensor}; expected a layer of this step")
        if (got := _width(source, known[source.tensor], f"the {what} of {step.name}")) != wanted:
            raise NetworkError(f"the {what} of {step.name} has {got} channels; the step codes {wanted}")


def _check_heads(network: EntropyNetwork) -> None:
    heads = frozenset().union(*(step.heads for step in network.steps))
    layers = [layer for step in network.steps for layer in step.layers]
    for layer in layers:
        if layer.relu and layer.name in heads:
            raise NetworkError(f"layer {layer.name} gives a mean or an index and has a ReLU; expected none")
        for source in layer.inputs:
            if source.tensor in heads:
                raise NetworkError(
                    f"layer {layer.name} reads {source.tensor}, which gives a mean or an index; expected that nobody "
                    "else reads it, because its unit is the coder's"
                )


def _check_coverage(network: EntropyNetwork) -> None:
    for channel in range(network.latent_channels):
        regions = [step.region for step in network.steps if step.channels[0] <= channel < step.channels[1]]
        if len(set(regions)) != len(regions) or set(regions) not in _COMPLETE:
            raise NetworkError(
                f"channel {channel} of y is coded in {', '.join(regions) or 'no step'}; expected every position once"
            )


def _layer_output(layer: Layer, known: Mapping[str, _Tensor]) -> _Tensor:
    """The tensor of a layer that reads only what is known."""
    where = f"layer {layer.name}"
    if not layer.name or layer.name in known or layer.name in (Z_HAT, Y_INT):
        raise NetworkError(f"two tensors are called {layer.name!r}; expected different names in one network")
    if not layer.inputs:
        raise NetworkError(f"{where} reads nothing; expected at least one source")
    sides: set[int] = set()
    width = 0
    for source in layer.inputs:
        if source.tensor not in known:
            raise NetworkError(f"{where} reads {source.tensor}, which is not defined before it; names or order?")
        tensor = known[source.tensor]
        width += _width(source, tensor, where) * (len(QUADRANTS) if source.box == "quadrants" else 1)
        sides.add(tensor.side if source.box == "all" else tensor.side // 2)
    if len(sides) != 1:
        raise NetworkError(f"{where} reads tensors of different sizes ({sorted(sides)} × h); expected one size")
    _check_weights(layer, width)
    side = sides.pop()
    if side * (2 if layer.shuffle else 1) > HYPER_FACTOR:
        raise NetworkError(f"{where} is larger than y; expected at most {HYPER_FACTOR}h × {HYPER_FACTOR}w")
    return _Tensor(layer.channels, side * 2 if layer.shuffle else side)


def _width(source: Source, tensor: _Tensor, where: str) -> int:
    """Channels that a source takes from one quadrant or all."""
    if source.box not in BOXES:
        raise NetworkError(f"{where} reads the box {source.box!r}; expected one of {', '.join(BOXES)}")
    if source.box != "all" and source.tensor not in (*HYPER_PARAMETERS, Y_INT):
        raise NetworkError(f"{where} reads a quadrant of {source.tensor}; only y_int and hyper parameters have them")
    first, last = source.channels or (0, tensor.channels)
    if not 0 <= first < last <= tensor.channels:
        raise NetworkError(f"{where} reads channels {first}..{last} of {source.tensor}, which has {tensor.channels}")
    return last - first


def _check_weights(layer: Layer, inputs: int) -> None:
    weight, bias = layer.weight, layer.bias
    if weight.dtype != np.float32 or bias.dtype != np.float32:
        raise NetworkError(f"layer {layer.name} has {weight.dtype} weights and {bias.dtype} biases; expected float32")
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0 or not len(weight):
        raise NetworkError(f"layer {layer.name} has weights {weight.shape}; expected [O, I, k, k] with an odd k")
    if weight.shape[1] != inputs:
        raise NetworkError(f"layer {layer.name} has weights for {weight.shape[1]} channels; its sources have {inputs}")
    if bias.shape != weight.shape[:1]:
        raise NetworkError(f"layer {layer.name} has biases {bias.shape}; expected {weight.shape[:1]}")
    if layer.shuffle and len(weight) % 4:
        raise NetworkError(f"layer {layer.name} shuffles {len(weight)} channels; expected a multiple of 4")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise NetworkError(f"layer {layer.name} has weights that are not finite; the model is damaged")
