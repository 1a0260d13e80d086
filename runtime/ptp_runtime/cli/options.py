"""Arguments and options that several commands share, and how results are printed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ptp_runtime.atomic import require_other_file
from ptp_runtime.backends import BACKEND_NAMES, INEXACT_POLICIES, BackendChoice
from ptp_runtime.errors import StreamError
from ptp_runtime.images import Pixels, load_image
from ptp_runtime.manifest import TASK_IDS
from ptp_runtime.stream_rules import FLOAT_STREAMS

if TYPE_CHECKING:
    from ptp_runtime.golden.run import GoldenResult
    from ptp_runtime.session import Session

F = TypeVar("F", bound=Callable[..., Any])

STREAM_LIMIT = 1 << 30
"""Largest stream file that is read, bytes; a 4096×4096 photo takes some megabytes at most."""


def bundle_argument(function: F) -> F:
    """``BUNDLE``: the directory. Whether it is one is for the runtime to say, in its own words."""
    return click.argument("bundle", type=click.Path(path_type=Path))(function)


def backend_options(profile: str = "latency") -> Callable[[F], F]:
    """``--backend``, ``--threads``, ``--trust``, ``--inexact``, and ``--latency`` or ``--throughput``: ``profile``."""
    options = [
        click.option(
            "--backend",
            type=click.Choice(BACKEND_NAMES),
            default="auto",
            show_default=True,
            help="Where to run the networks; auto takes the fastest that works here.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Threads inside one operator on the CPU.  [default: all usable cores; 1 with --throughput]",
        ),
        click.option(
            "--trust",
            help="Who vouches for the bundle's engines, which are code: the manifest's SHA-256 (see ptp sign), the PEM"
            " file of a public key, or any. Without it engines are left aside.",
        ),
        click.option(
            "--inexact",
            type=click.Choice(INEXACT_POLICIES),
            default="auto",
            show_default=True,
            help="A backend that fails the golden test of an integer entropy path: refuse it, or let the CPU run that"
            " path; auto does the latter unless --backend names it.",
        ),
        *(
            click.option(
                f"--{name}",
                "profile",
                flag_value=name,
                default=profile,
                show_default=False,
                help=meaning + ("  [default]" if name == profile else ""),
            )
            for name, meaning in (
                ("latency", "All cores work on one photo: each as soon as possible."),
                ("throughput", "Each core has a photo to itself: most photos in all."),
            )
        ),
    ]

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def step_checks_option(function: F) -> F:
    """``--step-checks``."""
    return click.option(
        "--step-checks/--no-step-checks",
        default=True,
        show_default=True,
        help="One byte a step, by which a decoder that differs names the step.",
    )(function)


def float_streams_option(function: F) -> F:
    """``--float-streams``."""
    return click.option(
        "--float-streams",
        type=click.Choice(FLOAT_STREAMS),
        default="refuse",
        show_default=True,
        help="A stream of a float entropy path that another library, kind of CPU or number of threads wrote.",
    )(function)


def convert_option(function: F) -> F:
    """``--convert``."""
    return click.option(
        "--convert",
        is_flag=True,
        help="Also take greyscale, alpha (over white), CMYK, 16 bits (the upper 8) and animations (first frame).",
    )(function)


def rate_option(function: F) -> F:
    """``--rate``."""
    return click.option(
        "--rate",
        type=click.IntRange(min=0),
        help="Of a bundle with several rates: 0 takes the fewest bits.  [default: the bundle's]",
    )(function)


def task_option(function: F) -> F:
    """``--task``, of bundles of several tasks."""
    return click.option(
        "--task", type=click.Choice(tuple(TASK_IDS)), help="Of a bundle of several tasks.  [default: its main one]"
    )(function)


def json_option(function: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def read_photo(path: Path, convert: bool) -> Pixels:
    """The photo; Pillow's own warnings stay silent, our error says the same in better words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_image(path, convert=convert)


def read_stream(path: Path) -> bytes:
    """The bytes of a stream file.

    Raises:
        StreamError: not there, not readable, or far too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(STREAM_LIMIT + 1)
    except OSError as error:
        raise StreamError(
            f"{path} cannot be read", expected="a stream", got=error.strerror or str(error), hint="check the path"
        ) from error
    if len(data) > STREAM_LIMIT:
        raise StreamError(f"{path} is too large for a stream", expected=f"at most {STREAM_LIMIT} bytes")
    return data


def check_output(output: Path, *inputs: Path) -> None:
    """Refuse an output that is one of the inputs, before any work is done."""
    for path in inputs:
        require_other_file(output, path)


def rate_note(session: Session, rate: int) -> str:
    """For people: which of several rates was coded; nothing where there is only one."""
    return "" if session.rates == 1 else f", rate {rate} of 0 to {session.rates - 1}"


def backend_values(choice: BackendChoice) -> dict[str, Any]:
    """The backend for ``--json``."""
    return {
        "name": choice.backend.name,
        "provider": choice.backend.provider,
        "entropy_provider": choice.entropy.provider,
        "reason": choice.reason,
    }


def golden_values(result: GoldenResult | None) -> dict[str, Any] | None:
    """The golden test for ``--json``; None where none was run."""
    if result is None:
        return None
    return {
        "backend": result.backend,
        "provider": result.provider,
        "exact": result.exact,
        "digest": result.digest,
        "expected": result.expected,
        "milliseconds": round(result.milliseconds, 3),
        "faults": [asdict(fault) for fault in result.faults],
    }


def times_sentence(milliseconds: Mapping[str, float]) -> str:
    """For people: the total and the stages, ms."""
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in milliseconds.items())
    return f"{sum(milliseconds.values()):.1f} ms ({stages})"


def print_json(values: Mapping[str, Any]) -> None:
    """One object on stdout."""
    click.echo(json.dumps(values, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, os.PathLike):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
