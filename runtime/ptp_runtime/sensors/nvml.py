"""The sensors of NVIDIA devices, through NVML. The only file that imports pynvml (extra ``nvml``).

Unseen on a GPU so far: written against NVIDIA's own Python binding and tested with a library that pretends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ptp_runtime.errors import BackendNotAvailableError, MissingExtraError

_REASONS = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000010: "sync boost",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "hardware power brake",
}
"""Why a device clocks lower than it could, by NVML's bit; idleness and clocks set by the user are none of these."""


@dataclass(frozen=True)
class DeviceReading:
    """One device at one moment; what it does not show is None or empty.

    Attributes:
        name: of the device.
        temperature_c: of the chip, degrees Celsius.
        clock_mhz: of the multiprocessors.
        clock_limit_mhz: their highest.
        memory_bytes: in use on the device, by everybody.
        power_w: now.
        throttled: why it clocks lower than it could.
    """

    name: str
    temperature_c: float | None = None
    clock_mhz: float | None = None
    clock_limit_mhz: float | None = None
    memory_bytes: int | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()


class NvmlSensors:
    """Reads every device.

    Args:
        library: the module ``pynvml``, initialised.
    """

    def __init__(self, library: Any) -> None:
        self._nvml = library
        self._handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]

    def read(self) -> tuple[DeviceReading, ...]:
        """All devices, now."""
        return tuple(self._device(handle) for handle in self._handles)

    def close(self) -> None:
        """Let go of the library."""
        self._nvml.nvmlShutdown()

    def _device(self, handle: Any) -> DeviceReading:
        nvml = self._nvml
        name = self._value(lambda: nvml.nvmlDeviceGetName(handle))
        memory = self._value(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used)
        power = self._number(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        bits = self._value(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
        return DeviceReading(
            name=name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "NVIDIA device"),
            temperature_c=self._number(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            clock_mhz=self._number(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            clock_limit_mhz=self._number(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_bytes=None if memory is None else int(memory),
            power_w=None if power is None else power * 1e-3,
            throttled=tuple(reason for bit, reason in _REASONS.items() if int(bits) & bit),
        )

    def _value(self, read: Callable[[], Any]) -> Any:
        """What a call gives; None where the device does not have that sensor."""
        try:
            return read()
        except self._nvml.NVMLError:
            return None

    def _number(self, read: Callable[[], Any]) -> float | None:
        value = self._value(read)
        return None if value is None else float(value)


def open_nvml(library: Any = None) -> NvmlSensors:
    """The sensors of this machine's NVIDIA devices.

    Args:
        library: the module ``pynvml``; None: imported.

    Raises:
        MissingExtraError: the binding is not installed.
        BackendNotAvailableError: no driver, or no device.
    """
    if library is None:
        try:
            library = import_module("pynvml")
        except ImportError as error:
            raise MissingExtraError(
                "the sensors of NVIDIA devices need NVML's binding",
                expected="the extra 'nvml'",
                got=str(error),
                hint="pip install 'ptp-deploy[nvml]'",
            ) from error
    try:
        library.nvmlInit()
        sensors = NvmlSensors(library)
    except library.NVMLError as error:
        raise BackendNotAvailableError(
            "NVML finds no NVIDIA device",
            expected="the driver's libnvidia-ml",
            got=str(error),
            hint="check the driver with nvidia-smi",
        ) from error
    return sensors
