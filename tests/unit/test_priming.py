"""Priming compiles everything once; a process that comes later compiles nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.runtime

_CHILD = """
import json
from dataclasses import asdict
from ptp_runtime.priming import prime
done = asdict(prime())
print(json.dumps(done | {"folders": [str(folder) for folder in done["folders"]]}))
"""


def prime_in(folder: Path, repository: Path) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(repository / "runtime"), "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_second_process_compiles_nothing(repository: Path, tmp_path: Path) -> None:
    first = prime_in(tmp_path, repository)
    second = prime_in(tmp_path, repository)

    assert first["compiled"] > 10
    assert first["cached"] == 0
    assert second["compiled"] == 0
    assert 10 < second["cached"] <= first["compiled"], "those that others call are inside of them by then"
    assert first["folders"]
    assert all(Path(folder).is_relative_to(tmp_path) for folder in first["folders"])
    kept = {file.parent for file in tmp_path.rglob("*.nbi")}
    assert kept == {Path(folder) for folder in first["folders"]}
