"""Entropy networks of the smallest size, with random weights, in both context modes: for tests and self-tests.

They have everything the real ones have: two hyper branches with pixel shuffles, a checkerboard whose channel context is
computed in one step and read in two, or quadrants whose networks read all four stacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ptp_calibration.integer_path.network import (
    QUADRANTS,
    EntropyNetwork,
    LatentSample,
    Layer,
    Source,
    StepNetwork,
)

#: Outputs of the last layers: means around 0, indices around the lower third of the table.
_MEAN_GAIN, _INDEX_GAIN, _INDEX_START = 40.0, 6.0, 12.0
_SIXTEENTHS = 16


@dataclass
class _Weights:
    """Draws layers; ``whole``: integers that keep every activation of small inputs below a thousand."""

    rng: np.random.Generator
    whole: bool
    _channels: dict[str, int] = field(default_factory=dict)

    def layer(
        self,
        name: str,
        sources: Sequence[Source],
        outputs: int,
        side: int,
        *,
        relu: bool = False,
        shuffle: bool = False,
        head: tuple[int, int] = (0, 0),
    ) -> Layer:
        """One layer; ``head``: how many of its outputs are means and indices."""
        inputs = sum(self._width(source) for source in sources)
        shape = (outputs, inputs, side, side)
        if self.whole:
            # About two inputs count for each output.
            chance = min(2 / (inputs * side * side), 0.5)
            weight = self.rng.choice([-1, 0, 1], shape, p=[chance / 2, 1 - chance, chance / 2]).astype(np.float32)
            bias = self.rng.integers(-3, 4, outputs).astype(np.float32)
        else:
            weight = self.rng.normal(0, (2 / (inputs * side * side)) ** 0.5, shape).astype(np.float32)
            bias = self.rng.normal(0, 0.1, outputs).astype(np.float32)
            start = 0
            for source in sources:
                width = self._width(source)
                if source.tensor == "y_int":
                    weight[:, start : start + width] /= _SIXTEENTHS
                start += width
        if sum(head):
            gains = np.repeat([_MEAN_GAIN, _INDEX_GAIN] if not self.whole else [1 / 8, 1 / 8], head)
            weight *= gains.astype(np.float32)[:, None, None, None]
            bias[head[0] :] += np.float32(_INDEX_START)
        self._channels[name] = outputs // 4 if shuffle else outputs
        return Layer(name, tuple(sources), weight, bias, relu, shuffle)

    def known(self, name: str, channels: int) -> None:
        """An input's channels."""
        self._channels[name] = channels

    def _width(self, source: Source) -> int:
        first, last = source.channels or (0, self._channels[source.tensor])
        return (last - first) * (len(QUADRANTS) if source.box == "quadrants" else 1)


def pocket_network(
    context: str, seed: int = 0, *, groups: tuple[int, ...] = (2, 3), width: int = 6, whole: bool = False
) -> EntropyNetwork:
    """A small random network.

    Args:
        context: ``checkerboard`` or ``zigzag``.
        seed: of the weights.
        groups: channels of y that are coded together.
        width: channels inside the networks.
        whole: integer weights (eighths in the last layers): small samples are then converted without any error.
    """
    weights = _Weights(np.random.default_rng(seed), whole)
    Z, M = 4, sum(groups)
    weights.known("z_hat", Z)
    weights.known("y_int", M)
    hyper = [layer for branch in ("mu", "scale") for layer in _hyper(weights, branch, width, M)]
    steps = _checkerboard(weights, groups, width) if context == "checkerboard" else _zigzag(weights, groups, width)
    return EntropyNetwork(Z, M, 2, tuple(hyper), tuple(steps))


def pocket_samples(
    network: EntropyNetwork, seed: int = 0, sizes: Sequence[tuple[int, int]] = ((1, 2), (2, 1), (3, 2)), spread: int = 3
) -> list[LatentSample]:
    """Random latents for a network.

    Args:
        network: whose channels they have.
        seed: of the numbers.
        sizes: height and width of each sample's z.
        spread: z lies within ± this, most of y within ± twice as much.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for height, width in sizes:
        z = rng.integers(-spread, spread + 1, (network.hyper_channels, height, width), dtype=np.int32)
        y = rng.laplace(0, spread, (network.latent_channels, 4 * height, 4 * width)).astype(np.float32)
        samples.append(LatentSample(z, y))
    return samples


def _hyper(weights: _Weights, branch: str, width: int, M: int) -> list[Layer]:
    name = f"hyper/{branch}"
    return [
        weights.layer(f"{name}/0", [Source("z_hat")], 4 * width, 3, relu=True, shuffle=True),
        weights.layer(f"{name}/1", [Source(f"{name}/0")], 4 * width, 1, relu=True, shuffle=True),
        weights.layer(f"{branch}_hyper", [Source(f"{name}/1"), Source(f"{name}/1", (0, 2))], M, 3),
    ]


def _checkerboard(weights: _Weights, groups: tuple[int, ...], width: int) -> list[StepNetwork]:
    steps: list[StepNetwork] = []
    start = 0
    for size in groups:
        context = Source(f"step_{len(steps):02d}/channel_context/1")
        for region in ("anchor", "nonanchor"):
            name = f"step_{len(steps):02d}"
            layers = []
            support = [Source("mu_hyper"), Source("scale_hyper")]
            if start and region == "anchor":
                first = weights.layer(f"{name}/channel_context/0", [Source("y_int", (0, start))], width, 5, relu=True)
                layers += [first, weights.layer(context.tensor, [Source(first.name)], 2 * size, 3)]
            if start:
                support.append(context)
            if region == "nonanchor":
                seen = [Source("y_int", (start, start + size))]
                layers.append(weights.layer(f"{name}/local_context", seen, 2 * size, 5))
                support.append(Source(layers[-1].name))
            inner = weights.layer(f"{name}/aggregate/0", support, width, 1, relu=True)
            last = weights.layer(f"{name}/aggregate/1", [Source(inner.name)], 2 * size, 1, head=(size, size))
            layers += [inner, last]
            mean, index = Source(last.name, (0, size)), Source(last.name, (size, 2 * size))
            steps.append(StepNetwork(name, (start, start + size), region, tuple(layers), mean, index))
        start += size
    return steps


def _zigzag(weights: _Weights, groups: tuple[int, ...], width: int) -> list[StepNetwork]:
    steps: list[StepNetwork] = []
    for region in QUADRANTS:
        start = 0
        for size in groups:
            name = f"step_{len(steps):02d}"
            decoded = [Source("y_int", earlier.channels, earlier.region) for earlier in steps[-3:]]
            layers = []
            for part, hyper, head in (("mean", "mu_hyper", (size, 0)), ("scale", "scale_hyper", (0, size))):
                sources = [Source(hyper, None, "quadrants"), *decoded]
                layers.append(weights.layer(f"{name}/{part}/0", sources, width, 3, relu=True))
                layers.append(weights.layer(f"{name}/{part}/1", [Source(layers[-1].name)], size, 3, head=head))
            mean, index = Source(layers[1].name), Source(layers[3].name)
            steps.append(StepNetwork(name, (start, start + size), region, tuple(layers), mean, index))
            start += size
    return steps
