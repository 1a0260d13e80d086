"""Whether the chain works here: on a small bundle of our own, and on the one that was given."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptp_runtime.doctor.finding import FAIL, NOTE, OK, Finding
from ptp_runtime.errors import BundleError
from ptp_runtime.images import Pixels

if TYPE_CHECKING:
    from ptp_runtime.golden.gate import Examination


def self_test() -> Finding:
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


def entropy_path(path: str | os.PathLike[str], asked: str) -> tuple[Finding, ...]:
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


def bundle_runs(path: str | os.PathLike[str], backend: str, inexact: str) -> Finding:
    """Verify a bundle and send a small picture through it."""
    from ptp_runtime.session import Session
    from ptp_runtime.trust import ANY

    # Who asks about a bundle means that bundle: what its engines do here is the question.
    with Session.open(path, backend=backend, inexact=inexact, trust=ANY) as session:
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
