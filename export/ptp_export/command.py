"""Click commands that end in one sentence and a meaningful exit code."""

from __future__ import annotations

from typing import Any

import click

from ptp_runtime.errors import MissingExtraError, PtpError

_EXTRA_HINT = "pip install 'ptp-deploy[export]'"


class PtpCommand(click.Command):
    """Turns a :class:`PtpError` into its sentence on stderr and its exit code; never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PtpError as error:
            raise _failure(error) from error
        except ModuleNotFoundError as error:
            missing = MissingExtraError(
                "a package that exporting needs is not installed", got=f"no module {error.name}", hint=_EXTRA_HINT
            )
            raise _failure(missing) from error
        except KeyboardInterrupt as error:
            raise click.Abort from error


class _Failure(click.ClickException):
    """What click prints and exits with."""

    def __init__(self, error: PtpError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click declares it for the class, and reads the instance


def _failure(error: PtpError) -> click.ClickException:
    return _Failure(error)
