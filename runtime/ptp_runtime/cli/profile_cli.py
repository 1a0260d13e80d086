"""``ptp profile``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ptp_runtime.cli.options import backend_options, check_output, convert_option, rate_option, read_photo
from ptp_runtime.errors import UsageError
from ptp_runtime.stream_rules import CODERS

_ENVIRONMENT = ("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NUMBA_", "ORT_", "CUDA_VISIBLE", "MALLOC_", "LD_PRELOAD")
"""How the variables begin that decide about threads, memory and devices."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path), nargs=-1)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything, raw windows included.")
@click.option("--trace", "trace_file", type=click.Path(path_type=Path), help="Write a Chrome trace, for Perfetto.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write one page with plots.")
@click.option("--compare", "other", type=click.Path(path_type=Path), help="A profile to compare this one (B) with (A).")
@click.option("--across", is_flag=True, help="Compare although machine or bundle differ; the comparison names them.")
@click.option("--against", multiple=True, help="Measure beside it in turn: torch (PyTorch eager).  [extra: export]")
@click.option("--torch-compile", is_flag=True, help="With --against torch: also with its networks compiled.")
@click.option("--checkpoint", default="demo", show_default=True, help="The weights for --against.")
@click.option("--layers", is_flag=True, help="Also by layer, where the backend can tell.")
@click.option("--cold-start/--no-cold-start", default=True, show_default=True, help="Also in fresh processes.")
@click.option("--warmup", type=click.IntRange(1), default=3, show_default=True, help="Rounds before the first window.")
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="Rounds of one window.")
@click.option("--windows", type=click.IntRange(2), default=5, show_default=True, help="Windows that must agree.")
@click.option("--tolerance", type=float, default=0.05, show_default=True, help="How far their medians may differ.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Begin no window after that.")
@click.option(
    "--coder",
    type=click.Choice(CODERS),
    default="cpu",
    show_default=True,
    help="Where decoding decodes symbols; on the gpu between engines, so that nothing returns to the host.",
)
@rate_option
@convert_option
@backend_options()
def profile(
    bundle: Path,
    photos: tuple[Path, ...],
    json_file: Path | None,
    trace_file: Path | None,
    html_file: Path | None,
    other: Path | None,
    across: bool,
    against: tuple[str, ...],
    torch_compile: bool,
    checkpoint: str,
    layers: bool,
    cold_start: bool,
    warmup: int,
    rounds: int,
    windows: int,
    tolerance: float,
    seconds: float,
    coder: str,
    rate: int | None,
    convert: bool,
    backend: str,
    threads: int | None,
    inexact: str,
    trust: str | None,
    profile: str,
) -> None:
    """Where the time of BUNDLE goes: percentiles of every stage, cold start, memory, and why slow runs are slow.

    Without PHOTO, a made picture of 768×512 pixels is coded. BUNDLE may also be a profile that --json wrote: then
    nothing is measured, and the table, page, trace or comparison are made from it.

    \b
    Examples:
      ptp profile BUNDLE
      ptp profile BUNDLE photo.jpg --json before.json --html before.html
      ptp profile BUNDLE photo.jpg --compare before.json
      ptp profile BUNDLE photo.jpg --against torch --layers
      ptp profile after.json --compare before.json
    """
    from ptp_runtime.atomic import write_bytes
    from ptp_runtime.profiling.chrome_trace import trace_of
    from ptp_runtime.profiling.comparison import compare
    from ptp_runtime.profiling.page import page_of
    from ptp_runtime.profiling.schema import read_profile
    from ptp_runtime.profiling.table import lines_of

    for output in filter(None, (json_file, trace_file, html_file)):
        check_output(output, bundle, *photos, *([] if other is None else [other]))
    if torch_compile and "torch" not in against:
        raise UsageError("--torch-compile has nothing to compile", hint="add --against torch")
    # Read first: a wrong file is better met before a minute of measuring.
    earlier = None if other is None else read_profile(other)
    if bundle.is_file():
        _refuse_measuring(bundle, photos, against)
        document = read_profile(bundle)
    else:
        document = _measured(
            bundle, photos, against, checkpoint, torch_compile, layers, cold_start, rate, convert, backend, threads,
            {"inexact": inexact, "profile": profile, "trust": trust, "coder": coder},
            (rounds, windows, seconds, tolerance, warmup),
        )  # fmt: skip
    comparison = None if earlier is None else compare(earlier, document, across=across)
    verdict = [] if comparison is None else comparison.sentences()
    if json_file is not None:
        write_bytes(json_file, json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8"))
    if trace_file is not None:
        write_bytes(trace_file, trace_of(document))
    if html_file is not None:
        write_bytes(html_file, page_of(document, verdict).encode("utf-8"))
    for line in lines_of(document):
        click.echo(line)
    if comparison is not None:
        click.echo(f"\ncompared with {other} (A):")
        for line in verdict:
            click.echo(f"  {line}")


def _refuse_measuring(stored: Path, photos: tuple[Path, ...], against: tuple[str, ...]) -> None:
    if photos or against:
        raise UsageError(
            f"{stored} is a file, and with photos or rivals there is something to measure",
            expected="a bundle's directory",
            hint="leave them out to look at a stored profile",
        )


def _measured(
    bundle: Path,
    photos: tuple[Path, ...],
    against: tuple[str, ...],
    checkpoint: str,
    compiled: bool,
    layers: bool,
    cold: bool,
    rate: int | None,
    convert: bool,
    backend: str,
    threads: int | None,
    options: Mapping[str, Any],
    rule: tuple[int, int, float, float, int],
) -> dict[str, Any]:
    from ptp_runtime.bundle import Bundle
    from ptp_runtime.profiling.measure import Photo, made_picture
    from ptp_runtime.profiling.request import ProfileRequest, make_profile
    from ptp_runtime.profiling.windows import StabilityRule

    rounds, windows, seconds, tolerance, warmup = rule
    chosen = [Photo(path.name, read_photo(path, convert)) for path in photos]
    request = ProfileRequest(
        backend=backend,
        threads=threads,
        options=options,
        rate=rate,
        rule=StabilityRule(rounds, windows, max(40, 2 * windows), seconds, tolerance, warmup),
        cold_rounds=3 if cold else 0,
        layers=layers,
        against=tuple(dict.fromkeys(against)),
        checkpoint=checkpoint,
        compiled=compiled,
        environment={name: value for name, value in sorted(os.environ.items()) if name.startswith(_ENVIRONMENT)},
    )
    return make_profile(Bundle.open(bundle), chosen or [Photo("made picture", made_picture())], request, _say_progress)


def _say_progress(windows: int, kept: int, seconds: float) -> None:
    """On stderr, for who waits; nothing where nobody looks."""
    if sys.stderr.isatty():
        click.echo(f"\rwindow {windows}, {kept} agree, {seconds:.0f} s ", err=True, nl=False)
