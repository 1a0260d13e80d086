"""What a session gives beside bytes and task outputs: sizes, times and every tensor on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.latents import Latents
from ptp_runtime.rate import Rate
from ptp_runtime.tasks import TaskOutput


@dataclass(frozen=True)
class Encoded:
    """What :meth:`Session.encode_detailed` gives.

    Attributes:
        data: the stream.
        rate: its size.
        latents: as the decoder will see them, with one record a step.
        tensors: ``y``, ``z`` (the analysis graph's outputs) and the hyper graph's, by name.
        milliseconds: by stage.
    """

    data: bytes
    rate: Rate
    latents: Latents
    tensors: Mapping[str, npt.NDArray[Any]]
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class Received:
    """What :meth:`Session.receive` gives: a stream as latents, before any task has looked at them.

    Attributes:
        header: of the stream.
        latents: as decoded.
        size_bytes: of the stream.
    """

    header: StreamHeader
    latents: Latents
    size_bytes: int


@dataclass(frozen=True)
class Decoded:
    """What :meth:`Session.decode_detailed` gives.

    Attributes:
        output: of the task.
        rate: size of the stream.
        latents: as decoded, with one record a step.
        tensors: the hyper graph's outputs, ``h`` (cropped) and the head's outputs, by name.
        milliseconds: by stage.
    """

    output: TaskOutput
    rate: Rate
    latents: Latents
    tensors: Mapping[str, npt.NDArray[Any]]
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class Inference:
    """What :meth:`Session.infer` gives: the photo's stream, and the task's output decoded from that stream.

    Attributes:
        data: the stream.
        output: of the task.
        rate: size of the stream.
        encode_milliseconds: by stage.
        decode_milliseconds: by stage.
    """

    data: bytes
    output: TaskOutput
    rate: Rate
    encode_milliseconds: Mapping[str, float]
    decode_milliseconds: Mapping[str, float]
