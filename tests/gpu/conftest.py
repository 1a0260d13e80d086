"""A device on which the kernels' source runs on the CPU, a warp as 32 fibres."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptp_runtime.coder_gpu import Handle
from ptp_runtime.coder_gpu.device import SOURCES


class FibreDevice:
    """The kernels on the CPU; device memory is the host's.

    Attributes:
        arrays: what lies in it.
        downloads: how many bytes went back to the host.
    """

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.arrays: dict[Handle, Any] = {}
        self.downloads: list[int] = []

    def upload(self, array: Any) -> Handle:
        copy = array.reshape(-1).copy() if array.size else np.zeros(1, array.dtype)
        handle = Handle(copy.ctypes.data)
        self.arrays[handle] = copy
        return handle

    def zeros(self, size: int) -> Handle:
        return self.upload(np.zeros(max(size, 1), np.uint8))

    def download(self, handle: Handle, into: Any) -> None:
        self.downloads.append(into.nbytes)
        ctypes.memmove(into.ctypes.data, handle, into.nbytes)

    def free(self, handle: Handle) -> None:
        del self.arrays[handle]

    def synchronize(self) -> None:
        """Everything happens at once."""

    def trim(self) -> None:
        """Nothing is kept."""

    def launch(self, kernel: str, blocks: int, *arguments: np.uint32 | Handle) -> None:
        values = [
            ctypes.c_uint32(int(value)) if isinstance(value, np.uint32) else ctypes.c_void_p(value)
            for value in arguments
        ]
        getattr(self.library, kernel.replace("ptp_", "run_"))(ctypes.c_uint32(blocks), *values)


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> FibreDevice:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to run the kernels on the CPU with")
    library = tmp_path_factory.mktemp("warp") / "warp.so"
    source, include = Path(__file__).with_name("warp.cpp"), SOURCES[0].parent
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return FibreDevice(library)
