"""What the coder needs of a GPU. ``CudaDevice`` is one; the tests have another that runs the same source on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NewType, Protocol

import numpy as np
import numpy.typing as npt

Handle = NewType("Handle", int)
"""An array in device memory: the address of its first element."""

NOTHING = Handle(0)
"""No array."""

SOURCE = Path(__file__).with_name("rans.cu")
"""The kernels."""


class GpuDevice(Protocol):
    """Arrays and kernel launches, all in the order of one stream of work."""

    def upload(self, array: npt.NDArray[Any]) -> Handle:
        """Copies a C-contiguous array into new device memory."""

    def zeros(self, size: int) -> Handle:
        """New device memory of so many bytes, all 0."""

    def download(self, handle: Handle, into: npt.NDArray[Any]) -> None:
        """Copies device memory into a C-contiguous array; returns when it is there."""

    def free(self, handle: Handle) -> None:
        """Gives memory back."""

    def launch(self, kernel: str, blocks: int, *arguments: np.uint32 | Handle) -> None:
        """Runs a kernel of ``SOURCE`` on so many blocks of one warp each."""
