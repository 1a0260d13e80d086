"""import-linter's contracts hold, and each of them is able to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    folders = [root / name for name in ("export", "runtime", "calibration", "ptp_model")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders)}
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
        "--config",
        str(root / "pyproject.toml"),
    ]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_contracts_hold(root: Path) -> None:
    done = _lint_imports(root)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("runtime/ptp_runtime/planted.py", "import torch"),
        ("runtime/ptp_runtime/planted.py", "def later():\n    import onnx.helper"),
        ("runtime/ptp_runtime/planted.py", "import ptp_model.spec"),
        ("calibration/ptp_calibration/planted.py", "import torch"),
        ("calibration/ptp_calibration/planted.py", "from ptp_runtime import errors"),
        ("ptp_model/ptp_model/planted.py", "import ptp_export"),
        ("ptp_model/ptp_model/planted.py", "import onnx"),
    ],
)
def test_a_planted_import_breaks_a_contract(root: Path, tmp_path: Path, file: str, statement: str) -> None:
    shutil.copy(root / "pyproject.toml", tmp_path)
    for folder in ("export", "runtime", "calibration", "ptp_model"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.jpg", "*.nb?")
        shutil.copytree(root / folder, tmp_path / folder, ignore=ignored)
    (tmp_path / file).write_text(statement + "\n", encoding="utf-8")

    done = _lint_imports(tmp_path)

    assert done.returncode != 0, "the contracts did not notice the import"
    assert "planted" in done.stdout
