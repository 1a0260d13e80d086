"""The GPU of the machine that builds, if it has one."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_runtime.backends.cuda_driver import Driver
from ptp_runtime.errors import BackendError


@dataclass(frozen=True)
class DeviceHere:
    """The first CUDA device.

    Attributes:
        name: for people; empty where there is none.
        capability: such as ``8.9``; empty likewise.
    """

    name: str
    capability: str


def device_here() -> DeviceHere:
    """The first CUDA device, or one without a name: most targets build without any."""
    try:
        driver = Driver()
        if driver.device_count() == 0:
            return DeviceHere("", "")
        return DeviceHere(driver.device_name(0), driver.capability(0))
    except BackendError:
        return DeviceHere("", "")
