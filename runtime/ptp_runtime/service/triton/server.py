"""A Triton that is installed here: ``tritonserver`` on the path, or the one in the wheel of NVIDIA's PyTriton."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptp_runtime.errors import MissingExtraError

_LIBRARIES = "LD_LIBRARY_PATH"


@dataclass(frozen=True)
class Ports:
    """Where Triton listens.

    Attributes:
        host: name or address, of all three.
        http, grpc, metrics: ports.
    """

    host: str
    http: int
    grpc: int
    metrics: int


def triton_command(
    repository: Path, work: Path, ports: Ports, environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The command that serves a model repository, and the environment that it needs.

    Args:
        repository: of :func:`~ptp_runtime.service.triton.repository.write_repository`.
        work: an empty folder for files of the server, which lives as long as it.
        ports: where to listen.
        environment: of this process.

    Raises:
        MissingExtraError: no Triton is installed, or not for this Python.
    """
    # The Python backend embeds an interpreter, which has the packages of the first python on the path.
    bin_folder = str(Path(sys.executable).parent)
    added = {"PATH": os.pathsep.join(filter(None, (bin_folder, environment.get("PATH", ""))))}
    server = shutil.which("tritonserver", path=environment.get("PATH"))
    options: list[str] = []
    if server is None:
        folder = _pytriton()
        server = str(folder / "bin" / "tritonserver")
        options = ["--backend-directory", str(_backends(folder, work / "backends"))]
        bundled = folder.parents[1] / "nvidia_pytriton.libs"
        libraries = [str(bundled), str(sysconfig.get_config_var("LIBDIR")), environment.get(_LIBRARIES, "")]
        added[_LIBRARIES] = os.pathsep.join(filter(None, libraries))
    command = [
        server,
        *("--model-repository", str(repository)),
        *options,
        *("--http-address", ports.host, "--http-port", str(ports.http)),
        *("--grpc-address", ports.host, "--grpc-port", str(ports.grpc)),
        *("--metrics-address", ports.host, "--metrics-port", str(ports.metrics)),
        *("--exit-timeout-secs", "30", "--log-info", "false", "--allow-gpu-metrics", "false"),
    ]
    return command, {**environment, **added}


def _pytriton() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "no Triton is installed here",
            expected="tritonserver on the path, or PyTriton, which brings one",
            got="neither",
            hint="pip install nvidia-pytriton (Linux on x86-64, glibc 2.35 or newer), or use NVIDIA's container",
        )
    return Path(spec.origin).parent / "tritonserver"


def _backends(folder: Path, target: Path) -> Path:
    """PyTriton's backends, with the interpreter of this Python's version put where Triton looks for it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = folder / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in (folder / "python_backend_stubs").glob("*"))) or "none"
        raise MissingExtraError(
            "PyTriton brings no Python backend for this Python", expected=known, got=version, hint="use another Python"
        )
    shutil.copytree(folder / "backends", target)
    shutil.copy2(stub, target / "python" / stub.name)
    return target
