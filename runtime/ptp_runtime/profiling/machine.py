"""What a profile was made on: the machine, and the software that does the work."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from ptp_runtime.sensors import DeviceReading

PACKAGES = (
    "ptp-deploy",
    "numpy",
    "numba",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
)
"""Distributions whose version is part of a profile, where they are installed."""


def machine(devices: tuple[DeviceReading, ...] = ()) -> dict[str, Any]:
    """Processor, usable cores, system, memory and devices; no name of the host.

    Args:
        devices: as NVML shows them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": _processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "memory_bytes": _memory_bytes(),
        "devices": [device.name for device in devices],
    }


def software() -> dict[str, str]:
    """Versions of Python, the kernel and the packages."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0
