"""``ptp doctor``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ptp_runtime.backends import BACKEND_NAMES, INEXACT_POLICIES
from ptp_runtime.cli.options import json_option, print_json
from ptp_runtime.errors import UsageError
from ptp_runtime.manifest.model import TARGETS
from ptp_runtime.user_cache import user_cache

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
@click.option(
    "--fix", is_flag=True, help="First build the engines that do not load here again, from the bundle's ONNX."
)
@click.option(
    "--target", "targets", type=click.Choice(TARGETS), multiple=True, help="With --fix: engines for it; repeatable."
)
@click.option(
    "--device", "devices", metavar="CC", multiple=True, help="With --fix: compute capability, such as 8.9; repeatable."
)
@click.option("--rebuild", is_flag=True, help="With --fix: build every engine again, good ones too.")
@click.option(
    "--engine-cache",
    metavar="DIR|off",
    envvar="PTP_ENGINE_CACHE",
    help="With --fix: where engines are kept.  [default: ptp-deploy/engines in the user's cache]",
)
@click.option(
    "--prime", "primes", is_flag=True, help="First compile every kernel, so that no later process waits for it."
)
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    bundle: Path | None,
    backend: str,
    inexact: str,
    fix: bool,
    targets: tuple[str, ...],
    devices: tuple[str, ...],
    rebuild: bool,
    engine_cache: str | None,
    primes: bool,
    as_json: bool,
) -> None:
    """Look at this machine: libraries, CPU, GPU, and whether coding works; with BUNDLE, run that too.

    Of an integer entropy path, the golden test is run on every backend: those that show one digest read each other's
    streams, here and on any other machine. Of engines, it says which load here, why the others do not, and what to run.

    With --fix, engines that do not load here are built again for this machine. The bundle is replaced as a whole when
    all are built, and stays as it was when one fails; old streams stay readable. Needs the extra "export" and a
    builder.

    With --prime, the kernels of the entropy coder and the tasks are compiled into their cache, which belongs to this
    processor and these versions: a line for the image or the service that shall answer at once.

    The exit code is 1 when something is broken. A note is no fault: something optional is absent.

    \b
    Examples:
      ptp doctor
      ptp doctor BUNDLE
      ptp doctor BUNDLE --backend cuda --json
      ptp doctor --prime
      ptp doctor --fix BUNDLE
      ptp doctor --fix BUNDLE --target tensorrt-rtx --device 8.9
    """
    from ptp_runtime.doctor import FAIL, examine

    if (targets or devices or rebuild) and not fix:
        raise UsageError("--target, --device and --rebuild say how to fix a bundle", expected="--fix beside them")
    fixed = _fixed(bundle, targets, devices, rebuild, engine_cache) if fix else None
    primed = _primed() if primes else None
    findings = examine(bundle, backend, inexact)
    broken = any(finding.status == FAIL for finding in findings)
    if as_json:
        report: dict[str, Any] = {"ok": not broken, "findings": [asdict(finding) for finding in findings]}
        report |= {} if fixed is None else {"fixed": fixed}
        print_json(report if primed is None else report | {"primed": primed})
    else:
        if fixed is not None:
            _show_fixed(fixed)
        if primed is not None:
            _show_primed(primed)
        for finding in findings:
            click.echo(f"{_MARKS[finding.status]}  {finding.subject}: {finding.detail}")
            if finding.hint and finding.status != "ok":
                click.echo(f"      → {finding.hint}")
    ctx.exit(1 if broken else 0)


def _fixed(
    bundle: Path | None, targets: tuple[str, ...], devices: tuple[str, ...], rebuild: bool, engine_cache: str | None
) -> dict[str, Any]:
    from ptp_runtime.engines.builders import engine_builder

    if bundle is None:
        raise UsageError("--fix mends a bundle", expected="ptp doctor --fix BUNDLE", got="no bundle")
    cache = user_cache("engines") if not engine_cache else None if engine_cache == "off" else Path(engine_cache)
    return engine_builder()(bundle, targets, devices, rebuild, cache)


def _show_fixed(fixed: dict[str, Any]) -> None:
    built, kept, dropped = (fixed[name] for name in ("built", "kept", "dropped"))
    click.echo(f"fixed  {len(built)} engines built in {fixed['seconds']:.1f} s, {len(kept)} kept as they were")
    for file in dropped:
        click.echo(f"       {file} was of no use and is gone: its builder is not installed")


def _primed() -> dict[str, Any]:
    from ptp_runtime.priming import prime

    done = asdict(prime())
    return done | {"folders": [str(folder) for folder in done["folders"]]}


def _show_primed(primed: dict[str, Any]) -> None:
    where = ", ".join(primed["folders"]) or "nowhere: no folder can be written to, so every process compiles"
    click.echo(f"primed {primed['compiled']} kernels compiled, {primed['cached']} found, in {primed['seconds']:.1f} s")
    click.echo(f"       kept in {where}")
