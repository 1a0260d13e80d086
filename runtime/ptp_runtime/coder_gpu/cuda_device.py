"""An NVIDIA GPU through the driver; compiles the kernels for the device at hand."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends.cuda_driver import Device, DeviceBuffer, Driver
from ptp_runtime.coder_gpu.cubin import cubin_for
from ptp_runtime.coder_gpu.device import Handle

WARP = 32
_COMPUTE_CAPABILITY = (75, 76)
"""Attributes of a device: major and minor."""


class CudaDevice:
    """The first CUDA device.

    Args:
        driver: loaded if None.

    Raises:
        BackendNotAvailableError: no driver, no device, or no compiler for it.
    """

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver or Driver()
        self._device = Device(self._driver)
        self._buffers: dict[Handle, DeviceBuffer] = {}
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
        buffer = DeviceBuffer(self._device)
        buffer.upload(array)
        self._device.synchronize()
        return self._kept(buffer)

    def zeros(self, size: int) -> Handle:
        buffer = DeviceBuffer(self._device)
        address = ctypes.c_uint64(buffer.reserve(size))
        stream = ctypes.c_void_p(self._device.stream)
        self._driver.call("cuMemsetD8Async", address, ctypes.c_ubyte(0), ctypes.c_size_t(max(size, 1)), stream)
        return self._kept(buffer)

    def _kept(self, buffer: DeviceBuffer) -> Handle:
        handle = Handle(buffer.address)
        self._buffers[handle] = buffer
        return handle

    def download(self, handle: Handle, into: npt.NDArray[Any]) -> None:
        self._buffers[handle].download(into)
        self._device.synchronize()

    def free(self, handle: Handle) -> None:
        self._device.synchronize()
        self._buffers.pop(handle).free()

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
