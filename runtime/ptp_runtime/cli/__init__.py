"""The command ``ptp``. Only the files of this folder read arguments, print, or decide about the process's end."""

from ptp_runtime.cli.group import main, ptp
from ptp_runtime.cli.outcome import run_command

__all__ = ["main", "ptp", "run_command"]
