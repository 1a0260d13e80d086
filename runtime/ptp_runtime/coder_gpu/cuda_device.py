"""An NVIDIA GPU through the driver; compiles the kernels for the device at hand."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends.cuda_driver import Device, DeviceBuffer, Driver
from ptp_runtime.coder_gpu.cubin import cubin_for
from ptp_runtime.coder_gpu.device import WARP, Handle

_COMPUTE_CAPABILITY = (75, 76)
"""Attributes of a device: major and minor."""


class CudaDevice:
    """The first CUDA device.

    Memory that was given back is kept for the next array of the same size: one photo after another of one size then
    allocates nothing.

    Args:
        device: its context and stream of work, such as those that the engines run on; made if None.

    Raises:
        BackendNotAvailableError: no driver, no device, or no compiler for it.
    """

    def __init__(self, device: Device | None = None) -> None:
        self._device = Device(Driver()) if device is None else device
        self._driver = self._device.driver
        self._buffers: dict[Handle, tuple[int, DeviceBuffer]] = {}
        self._kept: dict[int, list[DeviceBuffer]] = {}
        self._kernels: dict[str, ctypes.c_void_p] = {}
        self._module = ctypes.c_void_p()
        self._driver.call("cuModuleLoadData", ctypes.byref(self._module), cubin_for(self._architecture()))

    def _architecture(self) -> str:
        device, numbers = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
        self._driver.call("cuDeviceGet", ctypes.byref(device), 0)
        for number, attribute in zip(numbers, _COMPUTE_CAPABILITY, strict=True):
            self._driver.call("cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
        return f"sm_{numbers[0].value}{numbers[1].value}"

    def upload(self, array: npt.NDArray[Any]) -> Handle:
        buffer, handle = self._memory(array.nbytes)
        buffer.upload(array)
        # The array may change as soon as this returns.
        self.synchronize()
        return handle

    def zeros(self, size: int) -> Handle:
        buffer, handle = self._memory(size)
        address, stream = ctypes.c_uint64(buffer.address), ctypes.c_void_p(self._device.stream)
        self._driver.call("cuMemsetD8Async", address, ctypes.c_ubyte(0), ctypes.c_size_t(max(size, 1)), stream)
        return handle

    def _memory(self, size: int) -> tuple[DeviceBuffer, Handle]:
        kept = self._kept.get(size)
        buffer = kept.pop() if kept else DeviceBuffer(self._device)
        handle = Handle(buffer.reserve(size))
        self._buffers[handle] = (size, buffer)
        return buffer, handle

    def download(self, handle: Handle, into: npt.NDArray[Any]) -> None:
        self._device.download(handle, into)
        self.synchronize()

    def free(self, handle: Handle) -> None:
        # Whoever gets it next stands behind its present users on the stream.
        size, buffer = self._buffers.pop(handle)
        self._kept.setdefault(size, []).append(buffer)

    def synchronize(self) -> None:
        self._device.synchronize()

    def trim(self) -> None:
        self._device.make_current()
        self.synchronize()
        for buffer in (buffer for kept in self._kept.values() for buffer in kept):
            buffer.free()
        self._kept.clear()

    def launch(self, kernel: str, blocks: int, *arguments: np.uint32 | Handle) -> None:
        if kernel not in self._kernels:
            self._kernels[kernel] = ctypes.c_void_p()
            name = kernel.encode("ascii")
            self._driver.call("cuModuleGetFunction", ctypes.byref(self._kernels[kernel]), self._module, name)
        values = [
            ctypes.c_uint32(int(value)) if isinstance(value, np.uint32) else ctypes.c_uint64(value)
            for value in arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        one, shared, stream = 1, 0, ctypes.c_void_p(self._device.stream)
        shape = (blocks, one, one, WARP, one, one, shared)
        self._driver.call("cuLaunchKernel", self._kernels[kernel], *shape, stream, pointers, None)
