"""Figures of a run for TensorBoard. The only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ptp_runtime.errors import MissingExtraError


class Board:
    """Writes every figure of a run as a curve over its steps.

    Args:
        folder: where TensorBoard's event files go; ``tensorboard --logdir`` takes it.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "--tensorboard",
                expected="the package tensorboard",
                got="none",
                hint='pip install "ptp-deploy[train]", or leave out --tensorboard: metrics.jsonl has the same figures',
            ) from error
        self._writer = SummaryWriter(str(folder))

    def report(self, line: Mapping[str, float]) -> None:
        """Add a line of figures; its ``step`` is where they belong."""
        for name, value in line.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(line["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
