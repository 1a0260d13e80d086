"""What coder and decoder need of a GPU.

``CudaDevice`` is one; the tests have another that runs the same source on the CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NewType, Protocol

import numpy as np
import numpy.typing as npt

Handle = NewType("Handle", int)
"""An array in device memory: the address of its first element."""

NOTHING = Handle(0)
"""No array."""

SOURCES = (Path(__file__).with_name("rans.cu"), Path(__file__).with_name("latents.cu"))
"""The kernels: one text, in this order."""

WARP = 32
"""Threads of a block."""

SHARE = 8
"""Elements of each thread, in the kernels that work on elements; as ``latents.cu`` has it."""


def blocks_for(count: int) -> int:
    """How many blocks such a kernel needs for so many elements."""
    return -(-count // (WARP * SHARE))


class GpuDevice(Protocol):
    """Arrays and kernel launches, all in the order of one stream of work."""

    def upload(self, array: npt.NDArray[Any]) -> Handle:
        """Copies a C-contiguous array into new device memory."""

    def zeros(self, size: int) -> Handle:
        """New device memory of so many bytes, all 0."""

    def download(self, handle: Handle, into: npt.NDArray[Any]) -> None:
        """Copies device memory into a C-contiguous array; returns when it is there."""

    def free(self, handle: Handle) -> None:
        """Gives memory back, once what was launched before has used it."""

    def synchronize(self) -> None:
        """Waits until all that was launched is done."""

    def trim(self) -> None:
        """Gives memory that was given back, and kept for the next, to the driver."""

    def launch(self, kernel: str, blocks: int, *arguments: np.uint32 | Handle) -> None:
        """Runs a kernel of :data:`SOURCES` on so many blocks of one warp each."""
