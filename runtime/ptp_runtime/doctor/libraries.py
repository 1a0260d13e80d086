"""Python, the libraries that the runtime needs, the CPU, and where compiled kernels are kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path

from ptp_runtime.arithmetic import cpu_flags
from ptp_runtime.backends.onnxruntime_providers import PROVIDERS
from ptp_runtime.doctor.finding import FAIL, NOTE, OK, Finding

ONNXRUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""Distributions that all install the module ``onnxruntime`` into the same folder."""

NEEDED = ("numpy", "numba", "pillow", "click")


def library_findings() -> tuple[Finding, ...]:
    """Everything but NVIDIA."""
    installed = installed_versions(*ONNXRUNTIME_PACKAGES, *NEEDED)
    return (
        _python(),
        *(_library(name, installed) for name in NEEDED),
        _cpu(cpu_flags()),
        _kernel_cache(),
        onnxruntime_packages(installed),
        _providers(),
    )


def installed_versions(*names: str) -> dict[str, str]:
    """Versions of those of the distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _python() -> Finding:
    version = platform.python_version()
    detail = f"{version} on {platform.system()} {platform.machine()}"
    return Finding("Python", OK, detail)


def _library(name: str, installed: Mapping[str, str]) -> Finding:
    if name in installed:
        return Finding(name, OK, installed[name])
    return Finding(name, FAIL, "not installed", "pip install ptp-deploy")


def _cpu(flags: frozenset[str]) -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    interesting = ("sse4_2", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp")
    have = [name for name in interesting if name in flags]
    detail = f"{cores} cores usable, features: {', '.join(have) or 'unknown'}"
    if flags and "avx2" not in flags and "asimd" not in flags:
        return Finding("CPU", NOTE, detail, "without AVX2 everything works, but slowly")
    return Finding("CPU", OK, detail)


def _kernel_cache() -> Finding:
    """Whether numba can keep its compiled kernels; without, each process compiles for many seconds."""
    beside = Path(__file__).parents[1] / "coder" / "__pycache__"
    own = Path.home() / ".cache"
    for folder in (beside, beside.parent, own, own.parent):
        if folder.is_dir() and os.access(folder, os.W_OK):
            return Finding("kernel cache", OK, f"can be written below {folder}")
    return Finding(
        "kernel cache",
        FAIL,
        "neither the package's folder nor the home directory can be written to",
        "set NUMBA_CACHE_DIR to a folder that can be written to",
    )


def onnxruntime_packages(installed: Mapping[str, str]) -> Finding:
    """Whether exactly one distribution provides the module ``onnxruntime``.

    Args:
        installed: versions by distribution name.
    """
    present = [name for name in ONNXRUNTIME_PACKAGES if name in installed]
    detail = ", ".join(f"{name} {installed[name]}" for name in present)
    if len(present) > 1:
        return Finding(
            "onnxruntime package",
            FAIL,
            f"{detail}: they overwrite each other's files",
            f"pip uninstall {' '.join(present)}, then install one of ptp-deploy[cpu] and ptp-deploy[gpu]",
        )
    if not present:
        return Finding("onnxruntime package", FAIL, "none", "pip install 'ptp-deploy[cpu]' or 'ptp-deploy[gpu]'")
    return Finding("onnxruntime package", OK, detail)


def _providers() -> Finding:
    try:
        backend = import_module("ptp_runtime.backends.onnxruntime_backend")
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        return Finding("ONNX Runtime", FAIL, first, "install one of ptp-deploy[cpu] and ptp-deploy[gpu] again")
    providers: list[str] = backend.available_providers()
    backends = [name for name, provider in PROVIDERS.items() if provider in providers]
    detail = f"providers: {', '.join(providers)}; for --backend {', '.join(backends)}"
    return Finding("ONNX Runtime", OK, detail)
