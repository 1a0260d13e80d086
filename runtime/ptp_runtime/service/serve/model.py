"""One thing that is served: an operation of one task of one bundle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.bitstream import read_header
from ptp_runtime.errors import RequestError, TooLargeError
from ptp_runtime.images import image_from_bytes, image_size
from ptp_runtime.service.serve.limits import Limits
from ptp_runtime.service.serve.outputs import Coded, Outputs, Result
from ptp_runtime.service.serve.requests import Request, Response, parameter
from ptp_runtime.service.serve.tensors import Tensor, TensorSpec
from ptp_runtime.service.serve.work import PixelBudget
from ptp_runtime.session import Session
from ptp_runtime.shared_session import SharedSession
from ptp_runtime.stopwatch import Span, observed_spans, times_values

VERSION = "1"
"""Of every model: a bundle has a digest, not a number."""

OPERATIONS = ("encode", "decode", "infer")

_PHOTO = TensorSpec("PHOTO", "BYTES", (-1,), datatypes=("UINT8",))
_RATE = TensorSpec("RATE", "INT32", (1,), optional=True)
_STREAM = TensorSpec("STREAM", "BYTES", (-1,))

_OWN_PARAMETERS = ("rate", "convert", "trace")
# What clients of Triton may send along, which means nothing here.
_PARAMETERS = {
    *_OWN_PARAMETERS,
    *("binary_data_output", "headers", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"),
}

Job = Callable[[], Result]


@dataclass(frozen=True)
class Plan:
    """A request that was understood: its jobs, one a photo or stream, and what to make of their results.

    Attributes:
        jobs: to run in any order.
        answer: the response from their results, in the jobs' order.
    """

    jobs: Sequence[Job]
    answer: Callable[[Sequence[Result]], Response]


@dataclass(frozen=True)
class _Item:
    """One photo or stream of a request.

    Attributes:
        content: the bytes of a file or stream, or uint8 RGB (H, W, 3).
        pixels: that it will have, from its header.
        what: it is called in messages.
    """

    content: Any
    pixels: int
    what: str


def input_specs(operation: str) -> tuple[TensorSpec, ...]:
    """What the models of an operation take."""
    return (_STREAM,) if operation == "decode" else (_PHOTO, _RATE)


class ServedModel:
    """An operation of a task.

    Args:
        name: of the model.
        operation: one of :data:`OPERATIONS`.
        sessions: of the bundle.
        task: of the bundle.

    Attributes:
        name, operation, task: as given.
        inputs: that it takes.
        outputs: that it gives.
    """

    def __init__(self, name: str, operation: str, sessions: SharedSession, task: str) -> None:
        self.name, self.operation, self.task = name, operation, task
        self.inputs = input_specs(operation)
        self.outputs = Outputs(operation, task)
        self._sessions = sessions

    @property
    def session(self) -> Session:
        """Which does the work."""
        return self._sessions.session(self.task)

    def facts(self) -> dict[str, Any]:
        """What a client may want to know beside the tensors."""
        session = self.session
        return {
            "task": self.task,
            "operation": self.operation,
            "rates": session.rates,
            "default_rate": session.default_rate,
            "codec": session.manifest.entropy.identity,
            "backend": session.backend.backend.provider,
        }

    def plan(self, request: Request, limits: Limits, budget: PixelBudget) -> Plan:
        """Check a request and cut it into jobs. Every photo's and stream's header is read before any is worked on.

        Args:
            request: as it came.
            limits: of the service.
            budget: pixels that may be worked on at a time.

        Raises:
            RequestError: wrong inputs, parameters or outputs.
            TooLargeError: too many photos, too large a one, or too large together.
            ImageError, StreamError: one that cannot be read.
        """
        names = self.outputs.chosen(request.outputs)
        known = {spec.name for spec in self.inputs}
        for name in request.inputs:
            if name not in known:
                raise RequestError(f"the model has no input {name!r}", expected=", ".join(known), got=repr(name)[:80])
        for name in request.parameters:
            if name not in _PARAMETERS:
                raise RequestError(
                    f"there is no parameter {name[:80]!r}",
                    expected=", ".join(_OWN_PARAMETERS),
                    hint="see docs/serving.md",
                )
        trace = parameter(request.parameters, "trace", bool, default=False)
        items = _streams(request, limits) if self.operation == "decode" else _photos(request, limits)
        _require_together(items, limits, budget)
        code = self._decoding(trace) if self.operation == "decode" else self._coding(request, trace)

        def job(item: _Item) -> Result:
            with budget.take(item.pixels, item.what):
                return self.outputs.result(names, code(item.content))

        def answer(results: Sequence[Result]) -> Response:
            return Response(self.name, VERSION, self.outputs.tensors(names, results), request.id)

        return Plan([partial(job, item) for item in items], answer)

    def _decoding(self, trace: bool) -> Callable[[bytes], Coded]:
        def code(data: bytes) -> Coded:
            with _watched(trace) as spans:
                done = self._sessions.decode_detailed(data, task=self.task, keep_steps=False)
            times = {"decode": times_values(done.milliseconds)}
            return Coded(done.rate, times, output=done.output, spans=_shown("decode", spans))

        return code

    def _coding(self, request: Request, trace: bool) -> Callable[[bytes | npt.NDArray[np.uint8]], Coded]:
        rate = _rate(request)
        convert = parameter(request.parameters, "convert", bool, default=False)
        session, decodes = self.session, self.operation == "infer"

        def code(photo: bytes | npt.NDArray[np.uint8]) -> Coded:
            with _watched(trace) as spans:
                pixels = photo if isinstance(photo, np.ndarray) else image_from_bytes(photo, convert=convert)
                encoded = session.encode_detailed(pixels, rate=rate, keep_steps=False)
            size, data = encoded.rate, encoded.data
            times, shown = {"encode": times_values(encoded.milliseconds)}, _shown("encode", spans)
            if not decodes:
                return Coded(size, times, data, spans=shown)
            del encoded  # its tensors are as large as the photo
            with _watched(trace) as spans:
                decoded = session.decode_detailed(data, keep_steps=False)
            times["decode"] = times_values(decoded.milliseconds)
            return Coded(size, times, data, decoded.output, [*shown, *_shown("decode", spans)])

        return code


def _require_together(items: Sequence[_Item], limits: Limits, budget: PixelBudget) -> None:
    """Results are kept until the last of a request is there."""
    for item in items:
        budget.require(item.pixels, item.what)
    together = sum(item.pixels for item in items)
    if together > limits.request_pixels:
        raise TooLargeError(
            "the photos of this request are too large together",
            expected=f"at most {limits.request_pixels} pixels",
            got=str(together),
            hint="send fewer at a time, or start the service with a larger --max-request-pixels",
        )


def _watched(trace: bool) -> AbstractContextManager[list[Span]]:
    return observed_spans() if trace else nullcontext([])


def _input(request: Request, spec: TensorSpec) -> Tensor:
    if spec.name not in request.inputs:
        raise RequestError(
            f"the input {spec.name!r} is missing",
            expected=f"{spec.datatype} {list(spec.shape)}",
            got=", ".join(request.inputs) or "no input",
        )
    tensor = request.inputs[spec.name]
    if tensor.datatype not in (spec.datatype, *spec.datatypes):
        raise RequestError(
            f"the input {spec.name!r} is of another data type",
            expected=" or ".join((spec.datatype, *spec.datatypes)),
            got=tensor.datatype,
        )
    return tensor


def _elements(request: Request, spec: TensorSpec, limits: Limits) -> list[bytes]:
    tensor = _input(request, spec)
    values = tensor.values
    # Clients that think in batches send a column of one element each.
    column = len(tensor.shape) == 2 and tensor.shape[1] == 1
    if not isinstance(values, list) or not (len(tensor.shape) == 1 or column):
        raise RequestError(
            f"the input {spec.name!r} has another shape", expected="[photos]", got=repr(list(tensor.shape))
        )
    _require_count(len(values), limits)
    return values


def _streams(request: Request, limits: Limits) -> list[_Item]:
    items = []
    for data in _elements(request, _STREAM, limits):
        header = read_header(data)
        shown = header.original_height * header.original_width
        items.append(_Item(data, max(header.height * header.width, shown), "the photo of the stream"))
    return items


def _photos(request: Request, limits: Limits) -> list[_Item]:
    tensor = _input(request, _PHOTO)
    if tensor.datatype == "BYTES":
        files = _elements(request, _PHOTO, limits)
        return [_Item(data, math.prod(image_size(data)), "the photo") for data in files]
    pixels = np.asarray(tensor.values)
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise RequestError(
            "the photo as an array has another shape",
            expected="UINT8 [height, width, 3] or [photos, height, width, 3]",
            got=repr(list(tensor.shape)),
        )
    _require_count(len(pixels), limits)
    return [_Item(photo, photo.shape[0] * photo.shape[1], "the photo") for photo in pixels]


def _require_count(count: int, limits: Limits) -> None:
    if count < 1:
        raise RequestError("the request holds nothing to work on", expected="at least one photo or stream", got="none")
    if count > limits.photos:
        raise TooLargeError(
            "the request holds too many photos or streams", expected=f"at most {limits.photos}", got=str(count)
        )


def _rate(request: Request) -> int | None:
    chosen: int | None = parameter(request.parameters, "rate", int, default=None)
    if _RATE.name not in request.inputs:
        return chosen
    tensor = _input(request, _RATE)
    values = np.asarray(tensor.values).ravel()
    if values.size != 1:
        raise RequestError("one rate is for all photos of a request", expected="one number", got=str(values.size))
    return int(values[0])


def _shown(direction: str, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Spans from the beginning of the first, in milliseconds."""
    begin = min((span.start for span in spans), default=0.0)
    return [
        {
            "direction": direction,
            "stage": span.stage,
            "step": span.step,
            "start": round((span.start - begin) * 1e3, 3),
            "end": round((span.end - begin) * 1e3, 3),
            "depth": span.depth,
        }
        for span in spans
    ]
