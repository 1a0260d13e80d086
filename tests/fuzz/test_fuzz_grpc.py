"""Some thousand damaged messages over gRPC: apart, because the runtime alone has no gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_no_message_over_grpc_fails(repository: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--target", "grpc", "--count", "2000"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["grpc"]["faults"] == []
