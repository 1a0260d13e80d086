"""docs/results.md is what the committed measurements say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_page_is_made_from_the_files(repository: Path) -> None:
    script = repository / "benchmarks" / "report.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
