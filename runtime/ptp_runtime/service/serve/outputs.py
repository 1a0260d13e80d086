"""What a task gives, as tensors of the protocol: which outputs a model has, and how results become them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ptp_runtime.errors import RequestError
from ptp_runtime.palette import png_from_image, png_from_mask
from ptp_runtime.rate import Rate, rate_values
from ptp_runtime.result_files import result_values
from ptp_runtime.service.serve.tensors import Tensor, TensorSpec
from ptp_runtime.tasks import Classification, Detections, Segmentation, TaskOutput, View


@dataclass(frozen=True)
class Result:
    """What one photo or stream of a request became.

    Attributes:
        rate: size of the stream.
        milliseconds: by stage, of encoding, of decoding, or of both: ``{"encode": …, "decode": …}``.
        data: the stream, where the operation makes one.
        output: of the task, where the operation decodes.
        spans: stretches of time, for a waterfall; empty where nobody asked.
    """

    rate: Rate
    milliseconds: Mapping[str, Mapping[str, float]]
    data: bytes = b""
    output: TaskOutput | None = None
    spans: Sequence[Mapping[str, Any]] = ()

    def values(self) -> dict[str, Any]:
        """The result as JSON."""
        shown = {} if self.output is None else {"result": result_values(self.output)}
        spans = {"spans": list(self.spans)} if self.spans else {}
        return {**shown, **rate_values(self.rate), "milliseconds": self.milliseconds, **spans}


@dataclass(frozen=True)
class _Output:
    """One output of a model.

    Attributes:
        spec: its name, data type and shape.
        make: the tensor from the results of a request.
        usual: given where a request names no outputs.
    """

    spec: TensorSpec
    make: Callable[[Sequence[Result]], Tensor]
    usual: bool = True


class Outputs:
    """The outputs of one model.

    Args:
        operation: ``encode``, ``decode`` or ``infer``.
        task: of the model.
    """

    def __init__(self, operation: str, task: str) -> None:
        found = [] if operation == "decode" else [_bytes("STREAM", lambda result: result.data)]
        if operation != "encode":
            found += _OF_TASK[task]()
        found += [
            _Output(TensorSpec("BPP", "FP32", (-1,)), _bits),
            _bytes("RESULT", lambda result: json.dumps(result.values(), ensure_ascii=False).encode()),
        ]
        self._by_name = {output.spec.name: output for output in found}

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """All outputs."""
        return tuple(output.spec for output in self._by_name.values())

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of the outputs that a request wants.

        Raises:
            RequestError: no such output.
        """
        if not names:
            return tuple(name for name, output in self._by_name.items() if output.usual)
        for name in names:
            if name not in self._by_name:
                raise RequestError(
                    f"the model has no output {name!r}", expected=", ".join(self._by_name), got=repr(name)[:80]
                )
        return tuple(names)

    def tensors(self, names: Sequence[str], results: Sequence[Result]) -> tuple[Tensor, ...]:
        """The outputs of a request.

        Raises:
            RequestError: the photos are of several sizes, and an output would have to have one.
        """
        return tuple(self._by_name[name].make(results) for name in names)


def _bytes(name: str, element: Callable[[Result], bytes], *, usual: bool = True) -> _Output:
    return _Output(
        TensorSpec(name, "BYTES", (-1,)),
        lambda results: Tensor.of_bytes(name, [element(result) for result in results]),
        usual,
    )


def _bits(results: Sequence[Result]) -> Tensor:
    return Tensor.of_array("BPP", "FP32", np.array([result.rate.bits_per_pixel for result in results]))


def _stacked(name: str, pixels: Callable[[Any], Any], results: Sequence[Result], other: str) -> Tensor:
    arrays = [pixels(result.output) for result in results]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise RequestError(
            f"the photos of this request are of several sizes, so that {name} would have no shape",
            expected="photos of one size",
            got=", ".join("×".join(map(str, shape)) for shape in shapes[:4]),
            hint=f"name the outputs, with {other} in its place",
        )
    return Tensor.of_array(name, "UINT8", np.stack(arrays))


def _segmentation() -> list[_Output]:
    def png(result: Result) -> bytes:
        return png_from_mask(_of(result, Segmentation).mask)

    spec = TensorSpec("MASK", "UINT8", (-1, -1, -1))
    return [
        _Output(spec, lambda results: _stacked("MASK", lambda output: output.mask, results, "MASK_PNG")),
        _bytes("MASK_PNG", png, usual=False),
    ]


def _view() -> list[_Output]:
    def png(result: Result) -> bytes:
        return png_from_image(Image.fromarray(_of(result, View).image))

    spec = TensorSpec("PICTURE", "UINT8", (-1, -1, -1, 3))
    return [
        _Output(spec, lambda results: _stacked("PICTURE", lambda output: output.image, results, "PICTURE_PNG")),
        _bytes("PICTURE_PNG", png, usual=False),
    ]


def _detection() -> list[_Output]:
    def joined(name: str, datatype: str, rows: Callable[[Detections], Any]) -> Callable[[Sequence[Result]], Tensor]:
        def make(results: Sequence[Result]) -> Tensor:
            return Tensor.of_array(name, datatype, np.concatenate([rows(_of(one, Detections)) for one in results]))

        return make

    def photos(results: Sequence[Result]) -> Tensor:
        counts = [len(_of(one, Detections).scores) for one in results]
        return Tensor.of_array("PHOTO", "INT32", np.repeat(np.arange(len(counts)), counts))

    return [
        _Output(TensorSpec("BOXES", "FP32", (-1, 4)), joined("BOXES", "FP32", lambda found: found.boxes)),
        _Output(TensorSpec("SCORES", "FP32", (-1,)), joined("SCORES", "FP32", lambda found: found.scores)),
        _Output(TensorSpec("LABELS", "INT64", (-1,)), joined("LABELS", "INT64", lambda found: found.labels)),
        _Output(TensorSpec("PHOTO", "INT32", (-1,)), photos),
    ]


def _classification() -> list[_Output]:
    def stacked(name: str, datatype: str, row: Callable[[Classification], Any]) -> Callable[[Sequence[Result]], Tensor]:
        def make(results: Sequence[Result]) -> Tensor:
            return Tensor.of_array(name, datatype, np.stack([row(_of(one, Classification)) for one in results]))

        return make

    return [
        _Output(TensorSpec("LABELS", "INT64", (-1, -1)), stacked("LABELS", "INT64", lambda found: found.labels)),
        _Output(TensorSpec("SCORES", "FP32", (-1, -1)), stacked("SCORES", "FP32", lambda found: found.scores)),
        _Output(
            TensorSpec("PROBABILITIES", "FP32", (-1, -1)),
            stacked("PROBABILITIES", "FP32", lambda found: found.probabilities),
            usual=False,
        ),
    ]


def _of(result: Result, kind: type[Any]) -> Any:
    if not isinstance(result.output, kind):
        raise RequestError(
            "the model gave the output of another task", expected=kind.__name__, got=type(result.output).__name__
        )
    return result.output


_OF_TASK: dict[str, Callable[[], list[_Output]]] = {
    "seg": _segmentation,
    "det": _detection,
    "cls": _classification,
    "view": _view,
}
