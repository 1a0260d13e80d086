"""The graphs of a codec, each a few lines of numpy in exact arithmetic.

They keep the contract of ``docs/bundle-format.md`` and nothing else: sums and strides instead of convolutions. Chosen
so that every path of the chain is walked: scale indices on both sides of the skip threshold, means, symbols beyond the
tables (escapes), channels that are all zero, and steps that depend on what was decoded before. The entropy graphs are
there twice: in 64-bit integers, which stand for a float path, and as a real integer path
(:mod:`ptp_runtime.selftest.pocket_integer`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends import Arrays
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import DetectionParameters, GraphEntry
from ptp_runtime.selftest import pocket_integer
from ptp_runtime.selftest.pocket_integer import HYPER_CHANNELS, LATENT_CHANNELS, Convolve, convolve_float32

FEATURE_CHANNELS = 6
CLASSES = ("background", "dark", "red", "green", "blue")

CHECKERBOARD = ((0, 2, "anchor"), (0, 2, "nonanchor"), (2, 8, "anchor"), (2, 8, "nonanchor"))
ZIGZAG = tuple(
    (start, stop, region)
    for region in ("top-left", "bottom-left", "top-right", "bottom-right")
    for start, stop in ((0, 3), (3, 8))
)
WHOLE = ((0, 3, "all"), (3, 8, "all"))
SCHEDULES = {"checkerboard": CHECKERBOARD, "zigzag": ZIGZAG, "whole": WHOLE}
"""Schedules by the name of the context model: (first channel, behind the last, region) a step."""

# What a latent channel's samples are multiplied by: silent, skipped, ordinary, and far beyond any table.
_GAINS = np.array([0.0, 0.3, 4.0, 12.0, 40.0, 40.0, 3000.0, 60000.0], np.float32)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PocketModel:
    """Which variant of the pocket model a graph file asks for.

    Attributes:
        task: ``seg``, ``det``, ``cls`` or ``view``.
        context: a key of :data:`SCHEDULES`.
        mode: ``float`` or ``integer``: the kind of entropy path.
    """

    task: str
    context: str
    mode: str = "float"

    def function(self, graph: str, convolve: Convolve = convolve_float32) -> Callable[[Arrays], dict[str, Array]]:
        """The graph of that name as a function of its named inputs; of an integer path it also gives its layers.

        Args:
            graph: its name.
            convolve: the arithmetic of an integer path.
        """
        schedule = SCHEDULES[self.context]
        if graph.startswith("step_"):
            number = int(graph.removeprefix("step_"))
            start, stop, region = schedule[number]
            if self.mode == "integer":
                return lambda inputs: pocket_integer.step(
                    inputs, number, slice(start, stop), region, _box(region, *inputs["y_int"].shape[2:]), convolve
                )
            return lambda inputs: _step(inputs, slice(start, stop), region)
        if graph == "hyper" and self.mode == "integer":
            return lambda inputs: pocket_integer.hyper(inputs, len(schedule), convolve)
        return {
            "analysis": _analysis,
            "hyper": _hyper,
            "synthesis": _synthesis,
            "head": {"seg": _segmentation, "det": _detection, "cls": _classification, "view": _view}[self.task],
        }[graph]

    def file(self, graph: str) -> bytes:
        """What stands in the bundle in the place of an ONNX file."""
        return json.dumps({"pocket": [self.task, self.context, self.mode], "graph": graph}).encode()


class PocketBackend:
    """Runs the files that :meth:`PocketModel.file` wrote.

    Args:
        convolve: the arithmetic of an integer entropy path; another one stands for another machine.
    """

    def __init__(self, convolve: Convolve = convolve_float32) -> None:
        self._convolve = convolve

    @property
    def name(self) -> str:
        """See :class:`~ptp_runtime.backends.Backend`."""
        return "pocket"

    @property
    def provider(self) -> str:
        """See :class:`~ptp_runtime.backends.Backend`."""
        return f"numpy {np.__version__}"

    @property
    def arithmetic(self) -> Arithmetic:
        """Sums of whole numbers below 2^53: the same everywhere."""
        return Arithmetic("pocket", "whole numbers", "any machine")

    def load(self, bundle: Bundle, graph: GraphEntry) -> PocketGraph:
        """See :class:`~ptp_runtime.backends.Backend`."""
        return self._loaded(bundle, graph, ())

    def load_layers(self, bundle: Bundle, graph: GraphEntry, layers: Sequence[str]) -> PocketGraph:
        """See :class:`~ptp_runtime.backends.LayerBackend`."""
        return self._loaded(bundle, graph, layers)

    def _loaded(self, bundle: Bundle, graph: GraphEntry, layers: Sequence[str]) -> PocketGraph:
        try:
            value = json.loads(bundle.read(graph))
            model, name = PocketModel(*value["pocket"]), value["graph"]
            names = [tensor.name for tensor in graph.outputs]
            return PocketGraph(model.function(name, self._convolve), (*names, *layers))
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{graph.file} is no graph of the pocket model", got=repr(error)) from error


class PocketGraph:
    """One function as a loaded graph.

    Args:
        function: from named inputs to named tensors.
        outputs: which of them it gives.
    """

    provider = "numpy"

    def __init__(self, function: Callable[[Arrays], dict[str, Array]], outputs: Sequence[str]) -> None:
        self._function = function
        self._outputs = tuple(outputs)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See :class:`~ptp_runtime.backends.Graph`."""
        tensors = self._function(inputs)
        return {name: tensors[name] for name in self._outputs if name in tensors}

    def close(self) -> None:
        """Nothing is held."""


def _analysis(inputs: Arrays) -> dict[str, Array]:
    """Samples of the photo, one per block of 16 (y) and 64 (z) pixels, centred on 0; y times the gain, if any."""
    image = inputs["image"][0] - np.float32(0.5)
    y = np.stack([image[c % 3, (5 * c) % 16 :: 16, (3 * c) % 16 :: 16] for c in range(LATENT_CHANNELS)])
    z = np.stack([image[c % 3, c::64, c::64] for c in range(HYPER_CHANNELS)])
    y = y * _GAINS[:, None, None] * inputs.get("gain", np.ones((1, 1, 1, 1), np.float32))[0]
    return {"y": y[None].astype(np.float32), "z": z[None] * np.float32(40)}


def _hyper(inputs: Arrays) -> dict[str, Array]:
    """The hyper-latent, four times as large; means alternate in sign, scales grow with the channel."""
    up = inputs["z_hat"][0].repeat(4, axis=1).repeat(4, axis=2)
    channels = np.arange(LATENT_CHANNELS)
    mean = up[channels % HYPER_CHANNELS] * np.where(channels % 2, -4, 4)[:, None, None]
    scale = np.abs(up[(channels + 1) % HYPER_CHANNELS]) + 7 * channels[:, None, None]
    return {"mu_hyper": mean[None].astype(np.float32), "scale_hyper": scale[None].astype(np.float32)}


def _step(inputs: Arrays, channels: slice, region: str) -> dict[str, Array]:
    """Mean and index from the hyper parameters, the channels before and the neighbours, in 64-bit integers."""
    y = inputs["y_int"][0].astype(np.int64)
    earlier = y[: channels.start].sum(axis=0)
    own = y[channels]
    padded = np.pad(own, ((0, 0), (1, 1), (1, 1)))
    neighbours = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    context = (neighbours if region == "nonanchor" else 0) + earlier[None] + np.zeros_like(own)
    mean = inputs["mu_hyper"][0][channels].astype(np.int64) + context // 8
    index = inputs["scale_hyper"][0][channels].astype(np.int64) + np.abs(context) % 5 - 2
    box = _box(region, *y.shape[1:])
    return {
        "index": np.clip(index, 0, 63).astype(np.uint8)[box][None],
        "mean": np.clip(mean, -1023, 1023).astype(np.int16)[box][None],
    }


def _box(region: str, rows: int, columns: int) -> tuple[slice, ...]:
    top = slice(0, rows // 2) if region.startswith("top") else slice(rows // 2, rows)
    left = slice(0, columns // 2) if region.endswith("left") else slice(columns // 2, columns)
    return (slice(None), top, left) if "-" in region else (slice(None),)


def _synthesis(inputs: Arrays) -> dict[str, Array]:
    """The latent, divided by the gain if there is one, four times as large, in its first channels."""
    y = inputs["y_int"][0][:FEATURE_CHANNELS] / np.float32(16)
    if "gain" in inputs:
        y = y / inputs["gain"][0][:FEATURE_CHANNELS]
    y = y + inputs["mu_hyper"][0][:FEATURE_CHANNELS]
    return {"h": y.repeat(4, axis=1).repeat(4, axis=2)[None].astype(np.float32)}


def _segmentation(inputs: Arrays) -> dict[str, Array]:
    return {"logits": inputs["h"][:, : len(CLASSES), ::4, ::4]}


def _detection(inputs: Arrays) -> dict[str, Array]:
    """RetinaNet's layout with its default anchors: the same feature at every level, one score an anchor."""
    h, parameters = inputs["h"][0], DetectionParameters()
    logits, deltas = [], []
    for level in parameters.levels:
        step = level.stride // 4
        cells = h[:, ::step, ::step].reshape(FEATURE_CHANNELS, -1).T / np.float32(16)
        anchors = np.repeat(cells, len(level.sizes) * len(parameters.aspect_ratios), axis=0)
        logits.append(np.tanh(anchors[:, : len(CLASSES)]) * np.float32(6))
        deltas.append(np.tanh(anchors[:, :4]))
    return {"cls_logits": np.concatenate(logits)[None], "box_deltas": np.concatenate(deltas)[None]}


def _classification(inputs: Arrays) -> dict[str, Array]:
    """The mean of the feature's first channels, as a classifier's pooling gives."""
    return {"logits": inputs["h"][:, : len(CLASSES)].mean((2, 3), dtype=np.float32) / np.float32(16)}


def _view(inputs: Arrays) -> dict[str, Array]:
    feature = inputs["h"][:, 2:5] / np.float32(20) + np.float32(0.5)
    return {"image": feature.repeat(4, axis=2).repeat(4, axis=3)}
