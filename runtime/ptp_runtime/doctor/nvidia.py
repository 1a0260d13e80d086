"""What there is of NVIDIA: driver, CUDA, devices, and the two libraries that run engines."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ptp_runtime.backends.cuda_driver import Driver
from ptp_runtime.doctor.finding import FAIL, NOTE, OK, Finding
from ptp_runtime.doctor.libraries import installed_versions
from ptp_runtime.engines.bundle_engines import DISTRIBUTIONS
from ptp_runtime.engines.diagnosis import LIBRARY_NAMES
from ptp_runtime.errors import PtpError

_BACKENDS = {
    "tensorrt": "ptp_runtime.backends.tensorrt_backend",
    "tensorrt-rtx": "ptp_runtime.backends.tensorrt_rtx_backend",
}

_MODULE_VERSION = Path("/proc/driver/nvidia/version")


def nvidia_findings() -> tuple[Finding, ...]:
    """Libraries first: engines can be built where there is no device."""
    return (*(engine_library(target) for target in LIBRARY_NAMES), *devices())


def engine_library(target: str) -> Finding:
    """The library of a target: its version, and the GPUs that it takes where it says so."""
    name, present = LIBRARY_NAMES[target], installed_versions(*DISTRIBUTIONS[target])
    if not present:
        return Finding(name, NOTE, "not installed; needed only to run or build its engines")
    detail = ", ".join(f"{package} {version}" for package, version in present.items())
    try:
        backend: Any = import_module(_BACKENDS[target])
        supported = backend.supported()
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        return Finding(name, FAIL, f"{detail}, which cannot be loaded: {first}", "install it again as the README says")
    takes = f"; for GPUs of compute capability {', '.join(supported)}" if supported else ""
    return Finding(name, OK, detail + takes)


def devices(library: Any = None) -> tuple[Finding, ...]:
    """The driver, the newest CUDA that it serves, and the devices with their compute capability.

    Args:
        library: the driver's; loaded if None.
    """
    try:
        driver = Driver(library)
        names = [driver.device_name(index) for index in range(driver.device_count())]
        version = f"serves CUDA up to {driver.cuda_version()}{_module_version()}"
    except PtpError as error:
        got = f" ({error.got})" if error.got else ""
        return (Finding("NVIDIA device", NOTE, f"{error.message}{got}", "the CPU backend needs none"),)
    found = Finding("NVIDIA driver", OK, version)
    if not names:
        return (found, Finding("NVIDIA device", NOTE, "the driver finds none", "the CPU backend needs none"))
    return (found, Finding("NVIDIA device", OK, ", ".join(names)))


def _module_version() -> str:
    """The version of the kernel's module, where the system shows it."""
    try:
        first = _MODULE_VERSION.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return ""
    return f" ({first.removeprefix('NVRM version:').strip()})"
