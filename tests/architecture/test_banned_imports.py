"""ruff's banned imports hold, and notice what is planted in each source root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _ruff(root: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", *arguments]
    return subprocess.run(command, cwd=root, input=stdin, capture_output=True, text=True, check=False)


def test_no_banned_import(root: Path) -> None:
    done = _ruff(root, ".")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("runtime/ptp_runtime/planted.py", "import torch"),
        ("runtime/ptp_runtime/planted.py", "from onnx import helper"),
        ("runtime/ptp_runtime/coder/planted.py", "from ptp_model.spec import ModelSpec"),
        ("calibration/ptp_calibration/planted.py", "import torch.nn"),
        ("ptp_model/ptp_model/planted.py", "from ptp_export import bundle"),
        ("ptp_model/ptp_model/training/planted.py", "import onnxruntime"),
        ("export/ptp_export/planted.py", "import pickle\n\npickle.load(file)"),
        ("export/ptp_export/planted.py", "from onnxconverter_common import float16"),
        ("runtime/ptp_runtime/planted.py", "from pickle import loads"),
    ],
)
def test_a_planted_import_is_noticed(root: Path, file: str, statement: str) -> None:
    done = _ruff(root, "--stdin-filename", file, "-", stdin=statement + "\n")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "TID251" in done.stdout


def test_onnxruntime_is_not_taken_for_onnx(root: Path) -> None:
    done = _ruff(root, "--stdin-filename", "runtime/ptp_runtime/planted.py", "-", stdin="import onnxruntime\n")

    assert done.returncode == 0, done.stdout + done.stderr
