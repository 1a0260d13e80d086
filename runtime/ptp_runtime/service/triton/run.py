"""Bundles behind a Triton of this machine, from a repository that lives as long as the server."""

from __future__ import annotations

import logging
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from ptp_runtime.errors import BackendError
from ptp_runtime.service.serve.catalogue import named_bundle
from ptp_runtime.service.triton.repository import Layout, write_repository
from ptp_runtime.service.triton.server import Ports, triton_command

_log = logging.getLogger(__name__)


def run_triton(bundles: Sequence[str], ports: Ports, trust: str | None, environment: Mapping[str, str]) -> None:
    """Serve bundles with Triton until it ends; SIGTERM and SIGINT are handed on to it.

    Args:
        bundles: see :meth:`Catalogue.open <ptp_runtime.service.serve.catalogue.Catalogue.open>`.
        ports: where to listen.
        trust: see :class:`~ptp_runtime.service.triton.repository.Layout`.
        environment: of this process.

    Raises:
        MissingExtraError: no Triton is installed here.
        BackendError: Triton failed.
        PtpError: a bundle cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="ptp-triton-") as work:
        repository = Path(work) / "models"
        repository.mkdir()
        command, variables = triton_command(repository, Path(work), ports, environment)
        for number, text in enumerate(bundles):
            prefix, path = named_bundle(text)
            part = Path(work) / f"part-{number}"
            for name in write_repository(path, part, Layout(prefix=prefix, trust=trust)):
                (part / name).rename(repository / name)
        _log.info("starting %s", " ".join(command))
        server = subprocess.Popen(command, env=variables)  # noqa: S603 - a command of our own making

        def hand_on(signal_number: int, _: FrameType | None) -> None:
            server.send_signal(signal_number)

        before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            code = server.wait()
        finally:
            server.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
    if code:
        raise BackendError("Triton failed", expected="exit code 0", got=str(code), hint="its messages are above")
