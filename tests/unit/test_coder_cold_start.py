"""A fresh process is soon ready: what it does before its first decoded stream, in time of the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import pytest
from numba import types

from ptp_runtime.coder import signatures

pytestmark = pytest.mark.runtime

_IMPORT = """
import json, sys, time
start = time.process_time()
import ptp_runtime
print(json.dumps({"seconds": time.process_time() - start, "loaded": sorted({"numpy", "numba"} & set(sys.modules))}))
"""
_DECODE = """
import json, time
start = time.process_time()
import numpy as np
from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import StreamDecoder
from ptp_runtime.tables import Table, Tables
table = Table(-1, (1024, 2048, 512, 512))
data = bytes.fromhex(
    "50 54 01 00 3c 02 00 00 00 00 00 00 01 00 01 00 16 1a 2d ca 85"
    "03 d0 79 0c ba ce 00 00 00 00 00 00 00 00 00 00 00 00 00 00 f8 04"
)
decoder = StreamDecoder(data, Tables.build([table], [table]))
assert decoder.z_step(1, 3).tolist() == [[[0, 1, 5]]]
decoder.finish()
print(json.dumps({"seconds": time.process_time() - start}))
"""


def _child(repository: Path, code: str) -> dict[str, object]:
    environment = os.environ | {"PYTHONPATH": str(repository / "runtime")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_importing_the_runtime_loads_nothing_heavy(repository: Path) -> None:
    answers = [_child(repository, _IMPORT) for _ in range(2)]

    assert answers[1]["loaded"] == []
    assert min(float(str(answer["seconds"])) for answer in answers) <= 0.3


def test_the_first_decode_waits_for_no_compiler(repository: Path) -> None:
    """The first process may fill the cache of kernels; the second finds them there."""
    _child(repository, _DECODE)
    answers = [_child(repository, _DECODE) for _ in range(2)]

    assert min(float(str(answer["seconds"])) for answer in answers) <= 2.0


def test_kernels_need_no_folder_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba refuses to declare a cached function where it can write nowhere; ours is compiled then all the same."""

    def njit(**options: object) -> Callable[[Callable[[int], int]], object]:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(signatures, "njit", njit)
    twice = signatures.kernel(types.int64(types.int64))(lambda value: 2 * value)
    signatures.ready(twice)

    assert twice(21) == 42
