"""Vectors are chosen where numba compiles for AVX2; where it is missing they are not, and run all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptp_runtime.coder.kernel_choice import Kernels, has_avx2, use_vectors

pytestmark = pytest.mark.runtime

_CHILD = """
import os
import numpy as np
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder
from ptp_runtime.coder.kernel_choice import Kernels, has_avx2, use_vectors
from ptp_runtime.tables import Tables, gaussian_tables

random = np.random.default_rng(0)
indexes = random.integers(0, 30, (20, 16, 33)).astype(np.uint8)
symbols = np.where(indexes < 2, 0, np.rint(random.normal(0, 0.11 * 1.1309**indexes))).astype(np.int16)
tables = Tables.build(gaussian_tables(), [])
streams = []
for kernels in sorted(Kernels, key=lambda kind: kind.value != os.environ.get("PTP_FIRST")):
    header = StreamHeader(identity=b"abcd", task=0, width=512, height=256, steps=2, lanes=32)
    encoder = StreamEncoder(tables, header, kernels)
    encoder.z_step(np.zeros((0, 1, 1), np.int16))
    for parity in (Parity.EVEN, Parity.ODD):
        encoder.step(symbols, indexes, 0, parity)
    streams.append(encoder.finish())
    decoder = StreamDecoder(streams[0], tables, kernels=kernels)
    decoder.z_step(1, 1)
    halves = [decoder.step(indexes, 0, parity) for parity in (Parity.EVEN, Parity.ODD)]
    decoder.finish()
    assert np.array_equal(sum(halves), symbols)
assert len(set(streams)) == 1
print(has_avx2(), use_vectors(Kernels.AUTO), streams[0].hex())
"""


def _run(repository: Path, **variables: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(repository / "runtime")} | variables
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_processor_without_avx2_writes_the_same_bytes(repository: Path) -> None:
    """Both kinds are compiled for a processor of 2003: an instruction of AVX2 in them would end the process."""
    plain = _run(repository, NUMBA_CPU_NAME="x86-64" if _is_x86() else "generic", NUMBA_CPU_FEATURES="")
    here = _run(repository)

    assert plain[:2] == ["False", "False"]
    assert here[:2] == [str(has_avx2())] * 2
    assert plain[2] == here[2]


def test_vectors_that_are_compiled_first_leave_the_scalar_kernels_their_types(repository: Path, tmp_path: Path) -> None:
    """They call scalar kernels; numba compiles those then, and infers what they return from their own lines."""
    _run(repository, NUMBA_CACHE_DIR=str(tmp_path), PTP_FIRST="vector")


def test_a_choice_can_be_forced() -> None:
    assert use_vectors(Kernels.VECTOR)
    assert not use_vectors(Kernels.SCALAR)
    assert use_vectors(Kernels.AUTO) is has_avx2()


def _is_x86() -> bool:
    return os.uname().machine == "x86_64"
