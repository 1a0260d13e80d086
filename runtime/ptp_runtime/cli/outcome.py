"""How a command ends: errors as one sentence, exit codes that mean something, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import click

from ptp_runtime.errors import PtpError

INTERNAL_ERROR = 70
"""Exit code of a fault in the program itself (EX_SOFTWARE of sysexits.h)."""

INTERRUPTED = 130
BROKEN_PIPE = 141

_log = logging.getLogger("ptp_runtime.cli")


def run_command(command: click.Command, arguments: Sequence[str] | None, name: str) -> int:
    """Run a command and return the process's exit code.

    A :class:`~ptp_runtime.errors.PtpError` becomes its sentence on stderr and its ``exit_code``; a wrong option,
    click's message and 2. Anything else is a fault of ours: one sentence and 70; the traceback is logged as DEBUG.

    Args:
        command: the command or group.
        arguments: without the program's name; None: those of the process.
        name: how the program calls itself in messages.
    """
    try:
        result: Any = command.main(
            args=None if arguments is None else list(arguments), prog_name=name, standalone_mode=False
        )
    except PtpError as error:
        click.echo(f"{name}: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; there is nobody to tell.
        return BROKEN_PIPE
    except MemoryError:
        click.echo(f"{name}: out of memory; use a smaller image, or a machine with more memory.", err=True)
        return INTERNAL_ERROR
    except Exception as error:  # noqa: BLE001 - the last line of defence, and it speaks
        _log.debug("internal error", exc_info=True)
        first = str(error).strip().partition("\n")[0]
        click.echo(
            f"{name}: internal error ({type(error).__name__}: {first}); please report it with the output of --debug.",
            err=True,
        )
        return INTERNAL_ERROR
    return result if isinstance(result, int) else 0
