"""The few calls into NVIDIA's driver that the engine backends need, through ctypes. The only file that loads it.

The driver library comes with the driver, so nothing has to be installed beside TensorRT. TensorRT works in the
device's primary context, which is the one used here.

Unseen on a GPU so far: written against the documentation and tested with a driver that pretends.
"""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import BackendNotAvailableError, EngineError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_LENGTH = 256


def load_library() -> Any:
    """The driver's library.

    Raises:
        BackendNotAvailableError: no NVIDIA driver on this machine.
    """
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise BackendNotAvailableError(
            "there is no NVIDIA driver",
            expected=_LIBRARY,
            got=str(error),
            hint="install the driver, or use --backend cpu",
        ) from error


def device_names(library: Any = None) -> tuple[str, ...]:
    """The names of the CUDA devices, with their compute capability: ``NVIDIA L4 (8.9)``.

    Args:
        library: the driver's, loaded if None.

    Raises:
        BackendNotAvailableError: no driver, or it finds no device.
    """
    driver = Driver(library)
    return tuple(driver.device_name(i) for i in range(driver.device_count()))


class Driver:
    """Checked calls; every failing one raises an :class:`EngineError` that names it.

    Args:
        library: the driver's, loaded if None.

    Raises:
        BackendNotAvailableError: no driver, or it finds no device.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = load_library() if library is None else library
        status = self._library.cuInit(0)
        if status:
            raise BackendNotAvailableError(
                "the NVIDIA driver does not start",
                expected="a CUDA device",
                got=self._error_name(status),
                hint="check it with nvidia-smi, or use --backend cpu",
            )

    def _error_name(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorName(status, ctypes.byref(text))
        return text.value.decode("ascii", "replace") if text.value else f"error {status}"

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver; anything but success is an :class:`EngineError`."""
        status = getattr(self._library, function)(*arguments)
        if status:
            raise EngineError(
                f"the call {function} of the NVIDIA driver failed",
                got=self._error_name(status),
                hint="check the device with nvidia-smi and the free memory on it",
            )

    def device_count(self) -> int:
        """Number of CUDA devices."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def device_name(self, index: int) -> str:
        """Name and compute capability of a device."""
        device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_LENGTH)
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDeviceGetName", name, _NAME_LENGTH, device)
        return f"{name.value.decode('utf-8', 'replace')} ({self.capability(index)})"

    def capability(self, index: int) -> str:
        """Compute capability of a device, such as ``8.9``."""
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDeviceGetAttribute", ctypes.byref(major), 75, device)  # COMPUTE_CAPABILITY_MAJOR
        self.call("cuDeviceGetAttribute", ctypes.byref(minor), 76, device)  # COMPUTE_CAPABILITY_MINOR
        return f"{major.value}.{minor.value}"

    def cuda_version(self) -> str:
        """The newest CUDA that the driver serves, such as ``13.0``."""
        version = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}"


class Device:
    """The first CUDA device's primary context and one stream on it.

    Args:
        driver: see :class:`Driver`.
    """

    def __init__(self, driver: Driver) -> None:
        if driver.device_count() == 0:
            raise BackendNotAvailableError("the NVIDIA driver finds no device", hint="use --backend cpu")
        self.driver = driver
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        driver.call("cuDeviceGet", ctypes.byref(self._device), 0)
        driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.make_current()
        stream = ctypes.c_void_p()
        driver.call("cuStreamCreate", ctypes.byref(stream), 1)  # NON_BLOCKING: apart from the default stream
        self.stream = int(stream.value or 0)

    def make_current(self) -> None:
        """Bind the context to the calling thread; contexts are per thread."""
        self.driver.call("cuCtxSetCurrent", self._context)

    def download(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copy device memory into a C-contiguous array, whose content is valid after the stream is synchronised."""
        self.driver.call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(address),
            ctypes.c_size_t(array.nbytes),
            ctypes.c_void_p(self.stream),
        )

    def synchronize(self) -> None:
        """Wait until the stream is done."""
        self.driver.call("cuStreamSynchronize", ctypes.c_void_p(self.stream))


class DeviceBuffer:
    """Device memory that grows to the largest size asked for and is reused; sizes in bytes."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._size = 0
        self.address = 0

    def reserve(self, size: int) -> int:
        """At least ``size`` bytes (never none: an address is needed for an empty tensor too); returns the address."""
        size = max(size, 1)
        if size > self._size:
            self.free()
            address = ctypes.c_uint64()
            self._device.driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
            self.address, self._size = int(address.value), size
        return self.address

    def upload(self, array: npt.NDArray[Any]) -> None:
        """Copy a C-contiguous array in; it must live until the stream is synchronised."""
        self._device.driver.call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(self.reserve(array.nbytes)),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
            ctypes.c_void_p(self._device.stream),
        )

    def free(self) -> None:
        """Give the memory back."""
        if self._size:
            self._device.driver.call("cuMemFree_v2", ctypes.c_uint64(self.address))
            self.address, self._size = 0, 0


class PinnedBuffer:
    """Page-locked memory of the host, which a device copies from and to by itself; it grows and is reused.

    From ordinary memory the driver would first copy to such memory of its own, piece by piece, and hold up the host.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._size = 0
        self._address = 0

    def view(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """This memory as a C-contiguous array; the next view takes the same place."""
        kind = np.dtype(dtype)
        count = math.prod(shape)
        size = max(count * kind.itemsize, 1)
        if size > self._size:
            self.free()
            address = ctypes.c_void_p()
            self._device.driver.call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), 0)
            self._address, self._size = int(address.value or 0), size
        memory: Any = (ctypes.c_ubyte * size).from_address(self._address)
        array: npt.NDArray[Any] = np.frombuffer(memory, kind, count).reshape(shape)
        return array

    def free(self) -> None:
        """Give the memory back; arrays that were views of it must not be used any more."""
        if self._size:
            self._device.driver.call("cuMemFreeHost", ctypes.c_void_p(self._address))
            self._address, self._size = 0, 0
