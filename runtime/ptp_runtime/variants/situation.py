"""What this machine's sensors say, as a policy wants to hear it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ptp_runtime.errors import BackendNotAvailableError, MissingExtraError
from ptp_runtime.sensors import DeviceReading, LinuxSensors, MachineReading, NvmlSensors, open_nvml
from ptp_runtime.variants.policy import Situation


class MachineSituation:
    """Reads the processor's sensors and, where there is an NVIDIA device and the extra ``nvml``, the device's.

    Reading takes some hundred microseconds, so it is not done more often than asked for; in between the last one holds.

    Args:
        every: seconds between two readings.
        linux: None: this machine's.
        nvml: None: this machine's, where there is one.
        clock: of seconds, for tests.
    """

    def __init__(
        self,
        every: float = 1.0,
        *,
        linux: LinuxSensors | None = None,
        nvml: NvmlSensors | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._linux = LinuxSensors() if linux is None else linux
        self._nvml = _nvml_if_any() if nvml is None else nvml
        self._every, self._clock = every, clock
        self._read_at: float | None = None
        self._temperature: float | None = None
        self._share: float | None = None

    def __call__(self, latency_ms: float | None) -> Situation:
        """The situation now, with the latency that the caller has seen."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= self._every:
            devices = () if self._nvml is None else self._nvml.read()
            machine = self._linux.read()
            self._temperature, self._share = hottest(machine, devices), lowest_share(machine, devices)
            self._read_at = now
        return Situation(now, latency_ms, self._temperature, self._share)


def hottest(machine: MachineReading, devices: tuple[DeviceReading, ...]) -> float | None:
    """The highest temperature of processor and devices; None where none is shown."""
    found = [machine.temperature_c, *(device.temperature_c for device in devices)]
    return max((value for value in found if value is not None), default=None)


def lowest_share(machine: MachineReading, devices: tuple[DeviceReading, ...]) -> float | None:
    """The lowest clock over its own highest; None where none is shown.

    Idle devices clock down by themselves: only those that say that heat or power holds them back count.
    """
    shares = []
    if machine.clock_mhz is not None and machine.clock_limit_mhz:
        shares.append(machine.clock_mhz / machine.clock_limit_mhz)
    for device in devices:
        if device.clock_mhz is not None and device.clock_limit_mhz and device.throttled:
            shares.append(device.clock_mhz / device.clock_limit_mhz)
    return min(shares, default=None)


def _nvml_if_any() -> NvmlSensors | None:
    try:
        return open_nvml()
    except (MissingExtraError, BackendNotAvailableError):
        return None
