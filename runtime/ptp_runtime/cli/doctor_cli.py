"""``ptp doctor``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ptp_runtime.backends import BACKEND_NAMES, INEXACT_POLICIES
from ptp_runtime.cli.options import json_option, print_json

_MARKS = {"ok": "ok  ", "note": "note", "fail": "FAIL"}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--backend", type=click.Choice(BACKEND_NAMES), default="auto", show_default=True, help="For the bundle.")
@click.option(
    "--inexact",
    type=click.Choice(INEXACT_POLICIES),
    default="auto",
    show_default=True,
    help="A backend that fails the bundle's golden test: refuse it, or let the CPU run the entropy path.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, bundle: Path | None, backend: str, inexact: str, as_json: bool) -> None:
    """Look at this machine: libraries, CPU, GPU, and whether coding works; with BUNDLE, run that too.

    Of an integer entropy path, the golden test is run on every backend: those that show one digest read each other's
    streams, here and on any other machine.

    The exit code is 1 when something is broken. A note is no fault: something optional is absent.

    \b
    Examples:
      ptp doctor
      ptp doctor BUNDLE
      ptp doctor BUNDLE --backend cuda --json
    """
    from ptp_runtime.doctor import FAIL, examine

    findings = examine(bundle, backend, inexact)
    broken = any(finding.status == FAIL for finding in findings)
    if as_json:
        print_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding.status]}  {finding.subject}: {finding.detail}")
            if finding.hint and finding.status != "ok":
                click.echo(f"      → {finding.hint}")
    ctx.exit(1 if broken else 0)
