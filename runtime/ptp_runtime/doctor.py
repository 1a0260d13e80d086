"""What this machine has, what is missing for which backend, and whether the chain works here. Prints nothing."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptp_runtime.arithmetic import cpu_flags
from ptp_runtime.errors import BundleError, PtpError
from ptp_runtime.images import Pixels

if TYPE_CHECKING:
    from ptp_runtime.golden.gate import Examination

OK, NOTE, FAIL = "ok", "note", "fail"

ONNXRUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""Distributions that all install the module ``onnxruntime`` into the same folder."""

ENGINE_PACKAGES = {
    "TensorRT": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    "TensorRT for RTX": ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        status: ``ok``; ``note``: absent or slow, and nothing needs it; ``fail``: something will not work.
        detail: what was found.
        hint: what to do; empty where nothing is to be done.
    """

    subject: str
    status: str
    detail: str
    hint: str = ""


def examine(bundle: str | os.PathLike[str] | None, backend: str = "auto", inexact: str = "auto") -> tuple[Finding, ...]:
    """Look at the machine, and at a bundle if one is given.

    Args:
        bundle: a directory to verify and to run once, or None.
        backend: with which the bundle is run.
        inexact: as for ``Session.open``.
    """
    installed = _installed_versions()
    findings = [
        _python(),
        *(_library(name, installed) for name in ("numpy", "numba", "pillow", "click")),
        _cpu(cpu_flags()),
        _kernel_cache(),
        onnxruntime_packages(installed),
        _providers(),
        *(_engine_library(name, packages, installed) for name, packages in ENGINE_PACKAGES.items()),
        _devices(),
        _guarded("coder and chain", _self_test),
    ]
    if bundle is not None:
        path = bundle
        findings.append(_guarded("bundle", lambda: _bundle(path, backend, inexact)))
        findings.extend(_guarded_all("entropy path", lambda: _entropy_path(path, backend)))
    return tuple(findings)


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    """A check that runs code of ours: a typed error is a finding, not the end of the report."""
    return _guarded_all(subject, lambda: (check(),))[0]


def _guarded_all(subject: str, check: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """The same for a check with several findings."""
    try:
        return check()
    except PtpError as error:
        return (Finding(subject, FAIL, str(error), error.hint),)
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        detail = f"{type(error).__name__}: {first}"
        return (Finding(subject, FAIL, detail, "install ptp-deploy again in a new environment"),)


def _installed_versions() -> dict[str, str]:
    names = (
        *ONNXRUNTIME_PACKAGES,
        *(p for packages in ENGINE_PACKAGES.values() for p in packages),
        "numpy",
        "numba",
        "pillow",
        "click",
    )
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
    beside = Path(__file__).parent / "coder" / "__pycache__"
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
    return Finding("ONNX Runtime", OK, "providers: " + ", ".join(providers))


def _engine_library(name: str, packages: tuple[str, ...], installed: Mapping[str, str]) -> Finding:
    present = [f"{package} {installed[package]}" for package in packages if package in installed]
    if not present:
        return Finding(name, NOTE, "not installed; needed only to run or build its engines")
    return Finding(name, OK, ", ".join(present))


def _devices() -> Finding:
    from ptp_runtime.backends.cuda_driver import device_names

    try:
        names = device_names()
    except PtpError as error:
        return Finding("NVIDIA device", NOTE, f"{error.message} ({error.got})", "the CPU backend needs none")
    return Finding("NVIDIA device", OK, ", ".join(names))


def _self_test() -> Finding:
    """Code a small picture with the pocket model and compare every decoded symbol."""
    from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
    from ptp_runtime.session import Session

    subject = "coder and chain"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ptp-doctor-") as folder:
        bundle = write_pocket_bundle(Path(folder) / "bundle", task="view", context="checkerboard")
        with Session.open(bundle, backend=PocketBackend()) as session:
            loaded = time.perf_counter()
            encoded = session.encode_detailed(_test_picture())
            decoded = session.decode_detailed(encoded.data)
            done = time.perf_counter()
    pairs = list(zip(encoded.latents.steps, decoded.latents.steps, strict=True))
    count = sum(ours.symbols.size for ours, _ in pairs)
    if any(not np.array_equal(ours.symbols, theirs.symbols) for ours, theirs in pairs):
        return Finding(
            subject, FAIL, "decoded symbols differ from the encoded ones", "report this with the machine's CPU"
        )
    detail = f"{count} symbols coded and decoded alike in {(done - loaded) * 1e3:.0f} ms"
    return Finding(subject, OK, f"{detail}, kernels ready after {loaded - start:.1f} s")


def _entropy_path(path: str | os.PathLike[str], asked: str) -> tuple[Finding, ...]:
    """Which backends of this machine compute a bundle's entropy path exactly, or what its float streams depend on."""
    from ptp_runtime.backends.selection import open_backend
    from ptp_runtime.bundle import Bundle
    from ptp_runtime.golden.gate import examine_backends

    try:
        bundle = Bundle.open(path)
    except BundleError:
        return ()  # the finding on the bundle says it
    if bundle.manifest.entropy.mode == "float":
        arithmetic = open_backend("cpu", None).arithmetic
        detail = f"float; its streams are read by the same arithmetic only: {arithmetic.sentence()}"
        return (Finding("entropy path", NOTE, detail, "ptp export --entropy-path integer: streams for any machine"),)
    examined = examine_backends(bundle)
    if not examined:
        hint = "export the bundle again"
        return (
            Finding("entropy path", NOTE, "integer, without a golden test to show whether a backend is exact", hint),
        )
    return tuple(_examination(one, asked) for one in examined)


def _examination(one: Examination, asked: str) -> Finding:
    subject = f"integer entropy path on {one.backend}"
    if one.result is None:
        return Finding(subject, NOTE, one.sentence())
    if one.result.exact:
        return Finding(subject, OK, one.sentence())
    # The CPU takes the place of any other, unless that one was asked for.
    status = FAIL if one.backend in ("cpu", asked) else NOTE
    return Finding(subject, status, one.sentence(), "use --inexact cpu, or another --backend")


def _bundle(path: str | os.PathLike[str], backend: str, inexact: str) -> Finding:
    """Verify a bundle and send a small picture through it."""
    from ptp_runtime.session import Session

    with Session.open(path, backend=backend, inexact=inexact) as session:
        pre = session.manifest.preprocessing
        picture = _test_picture(pre.height[0], pre.width[0])
        result = session.infer(picture)
        task = session.manifest.task.name
        detail = f"{task}: every file verified, {result.rate.size_bytes} bytes for a test picture, "
        return Finding("bundle", OK, detail + f"on {session.backend.backend.provider} ({session.backend.reason})")


def _test_picture(height: int = 128, width: int = 192) -> Pixels:
    """Two slopes and some coarse squares, uint8 RGB."""
    y, x = np.mgrid[0:height, 0:width]
    squares = ((x // 16 + y // 16) % 2) * 60
    planes = [x * 255 // width, y * 255 // height, (x + y) * 127 // (width + height) + squares]
    picture: Pixels = np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)
    return picture
