"""What a task gives, as tensors of the protocol: which outputs a model has, and how results become them.

An output is made in two steps: a *part* for each photo, by the worker that decoded it, and one tensor from the parts of
all photos of the request. So workers make the files, too, and of a decoded photo no more is kept than was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ptp_runtime.errors import RequestError
from ptp_runtime.palette import png_from_image, png_from_mask
from ptp_runtime.rate import Rate, rate_values
from ptp_runtime.result_files import result_values
from ptp_runtime.service.serve.tensors import Tensor, TensorSpec
from ptp_runtime.tasks import TaskOutput


@dataclass(frozen=True)
class Coded:
    """What a worker made of one photo or stream.

    Attributes:
        rate: size of the stream.
        milliseconds: by stage, of each direction: ``{"encode": …, "decode": …}``, or one of them.
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
        """All but the stream as JSON."""
        shown = {} if self.output is None else {"result": result_values(self.output)}
        spans = {"spans": list(self.spans)} if self.spans else {}
        return {**shown, **rate_values(self.rate), "milliseconds": self.milliseconds, **spans}


@dataclass(frozen=True)
class Result:
    """What is kept of one photo or stream of a request.

    Attributes:
        rate, milliseconds: see :class:`Coded`.
        parts: of the outputs that the request wants, by name.
    """

    rate: Rate
    milliseconds: Mapping[str, Mapping[str, float]]
    parts: Mapping[str, Any]


@dataclass(frozen=True)
class _Output:
    """One output of a model.

    Attributes:
        spec: its name, data type and shape.
        part: of one photo, from what was made of it.
        join: the tensor, from the parts of all photos.
        usual: given where a request names no outputs.
    """

    spec: TensorSpec
    part: Callable[[Coded], Any]
    join: Callable[[Sequence[Any]], Tensor]
    usual: bool = True


class Outputs:
    """The outputs of one model.

    Args:
        operation: ``encode``, ``decode`` or ``infer``.
        task: of the model.
    """

    def __init__(self, operation: str, task: str) -> None:
        found = [] if operation == "decode" else [_bytes("STREAM", lambda coded: coded.data)]
        if operation != "encode":
            found += _OF_TASK[task]()
        found += [
            _joined("BPP", "FP32", (-1,), np.array, lambda coded: coded.rate.bits_per_pixel),
            _bytes("RESULT", lambda coded: json.dumps(coded.values(), ensure_ascii=False).encode()),
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

    def result(self, names: Sequence[str], coded: Coded) -> Result:
        """What is kept of one photo: the parts of the outputs of these names."""
        return Result(coded.rate, coded.milliseconds, {name: self._by_name[name].part(coded) for name in names})

    def tensors(self, names: Sequence[str], results: Sequence[Result]) -> tuple[Tensor, ...]:
        """The outputs of a request.

        Raises:
            RequestError: the photos are of several sizes, and an output would have to have one.
        """
        return tuple(self._by_name[name].join([result.parts[name] for result in results]) for name in names)


def _output(coded: Coded) -> Any:
    """The task's output, of the class that the model's task has."""
    return coded.output


def _bytes(name: str, part: Callable[[Coded], bytes], *, usual: bool = True) -> _Output:
    return _Output(TensorSpec(name, "BYTES", (-1,)), part, lambda parts: Tensor.of_bytes(name, parts), usual)


def _joined(
    name: str,
    datatype: str,
    shape: tuple[int, ...],
    join: Callable[[Sequence[Any]], npt.NDArray[Any]],
    part: Callable[[Coded], Any],
    *,
    usual: bool = True,
) -> _Output:
    """Numbers, joined by numpy: stacked, put behind one another, or one for each photo."""
    return _Output(
        TensorSpec(name, datatype, shape), part, lambda parts: Tensor.of_array(name, datatype, join(parts)), usual
    )


def _pixels(name: str, shape: tuple[int, ...], part: Callable[[Any], npt.NDArray[np.uint8]], other: str) -> _Output:
    """Arrays of the photos' own size, which must be one; ``other`` names the output that can do without."""

    def join(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise RequestError(
                f"the photos of this request are of several sizes, so that {name} would have no shape",
                expected="photos of one size",
                got=", ".join("×".join(map(str, shape)) for shape in shapes[:4]),
                hint=f"name the outputs, with {other} in its place",
            )
        return np.stack(arrays)

    return _joined(name, "UINT8", shape, join, lambda coded: part(coded.output))


def _segmentation() -> list[_Output]:
    return [
        _pixels("MASK", (-1, -1, -1), lambda output: output.mask, "MASK_PNG"),
        _bytes("MASK_PNG", lambda coded: png_from_mask(_output(coded).mask), usual=False),
    ]


def _view() -> list[_Output]:
    return [
        _pixels("PICTURE", (-1, -1, -1, 3), lambda output: output.image, "PICTURE_PNG"),
        _bytes("PICTURE_PNG", lambda coded: png_from_image(Image.fromarray(_output(coded).image)), usual=False),
    ]


def _detection() -> list[_Output]:
    def photos(counts: Sequence[int]) -> npt.NDArray[Any]:
        return np.repeat(np.arange(len(counts)), counts)

    return [
        _joined("BOXES", "FP32", (-1, 4), np.concatenate, lambda coded: _output(coded).boxes),
        _joined("SCORES", "FP32", (-1,), np.concatenate, lambda coded: _output(coded).scores),
        _joined("LABELS", "INT64", (-1,), np.concatenate, lambda coded: _output(coded).labels),
        _joined("PHOTO_INDEX", "INT32", (-1,), photos, lambda coded: len(_output(coded).scores)),
    ]


def _classification() -> list[_Output]:
    return [
        _joined("LABELS", "INT64", (-1, -1), np.stack, lambda coded: _output(coded).labels),
        _joined("SCORES", "FP32", (-1, -1), np.stack, lambda coded: _output(coded).scores),
        _joined("PROBABILITIES", "FP32", (-1, -1), np.stack, lambda coded: _output(coded).probabilities, usual=False),
    ]


_OF_TASK: dict[str, Callable[[], list[_Output]]] = {
    "seg": _segmentation,
    "det": _detection,
    "cls": _classification,
    "view": _view,
}
