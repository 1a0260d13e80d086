"""Where and how precisely a training step computes, and who prepares its crops."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from ptp_model.errors import ModelError
from ptp_model.teachers.base import RawOutput

Precision = Literal["float32", "bfloat16"]


class DeviceError(ModelError):
    """A device that is not there, or that cannot compute as asked."""


@dataclass(frozen=True)
class Compute:
    """How a step computes.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: of the transforms and the teacher. With bfloat16 the weights, the entropy path and the losses stay
            in float32; the range of bfloat16 is that of float32, so no loss needs scaling.
        workers: threads that prepare the crops of coming steps; 0: the step itself does.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    workers: int = 0

    def networks(self) -> AbstractContextManager[object]:
        """Around the networks of a step, but not around its losses."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)


ON_CPU = Compute()


def chosen(device: str, precision: str, workers: int | None) -> Compute:
    """The device's usual settings where none are given: bfloat16 and four workers on CUDA, neither on a CPU.

    Args:
        precision: ``auto`` for the device's own.
        workers: None for the device's own.

    Raises:
        DeviceError: there is no such device here, or it has no bfloat16.
    """
    on_gpu = device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise DeviceError(
            f"--device cuda: expected a GPU that torch {torch.__version__} can use, got none; "
            "install torch for CUDA and a driver, or leave out --device"
        )
    exact = precision == "float32" or (precision == "auto" and not on_gpu)
    if not exact and on_gpu and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            f"--precision {precision}: expected a GPU with bfloat16 (Ampere or newer), "
            f"got {torch.cuda.get_device_name()}; give --precision float32"
        )
    return Compute(device, "float32" if exact else "bfloat16", (4 if on_gpu else 0) if workers is None else workers)


def in_float32(output: RawOutput) -> RawOutput:
    """A head's outputs for the losses; unchanged where they are float32 already."""
    return tuple(part.float() for part in output) if isinstance(output, tuple) else output.float()  # type: ignore[return-value]
