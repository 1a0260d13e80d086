"""``ptp encode``."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_runtime.cli.options import (
    backend_options,
    backend_values,
    bundle_argument,
    check_output,
    convert_option,
    golden_values,
    json_option,
    print_json,
    rate_note,
    rate_option,
    read_photo,
    step_checks_option,
    task_option,
    times_sentence,
)
from ptp_runtime.rate import rate_values
from ptp_runtime.stopwatch import times_values


@click.command()
@bundle_argument
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Stream file to write.")
@rate_option
@task_option
@convert_option
@step_checks_option
@backend_options()
@json_option
def encode(
    bundle: Path,
    photo: Path,
    output: Path,
    rate: int | None,
    task: str | None,
    convert: bool,
    step_checks: bool,
    backend: str,
    threads: int | None,
    inexact: str,
    trust: str | None,
    profile: str,
    as_json: bool,
) -> None:
    """Code PHOTO with BUNDLE into a stream.

    The stream can be decoded with the same bundle, or with any bundle that shares its entropy identity
    (see `ptp inspect`).

    \b
    Examples:
      ptp encode BUNDLE photo.jpg -o photo.ptp
      ptp encode BUNDLE photo.jpg -o photo.ptp --rate 0      # as few bits as the bundle can
      ptp encode BUNDLE scan.png -o scan.ptp --convert       # a greyscale scan
      ptp encode BUNDLE photo.jpg -o photo.ptp --json
    """
    from ptp_runtime.atomic import write_bytes
    from ptp_runtime.session import Session

    check_output(output, photo, bundle)
    pixels = read_photo(photo, convert)
    with Session.open(
        bundle, backend, threads, task, inexact=inexact, trust=trust, step_checks=step_checks, profile=profile
    ) as session:
        encoded = session.encode_detailed(pixels, rate=rate, keep_steps=False)
        choice, coded_rate = session.backend, session.default_rate if rate is None else rate
    write_bytes(output, encoded.data)
    if as_json:
        print_json(
            {
                "output": output,
                "rate": coded_rate,
                **rate_values(encoded.rate),
                "milliseconds": times_values(encoded.milliseconds),
                "backend": backend_values(choice),
                "golden": golden_values(session.golden),
            }
        )
        return
    click.echo(f"{photo} → {output}")
    click.echo(f"  {encoded.rate.sentence()}{rate_note(session, coded_rate)}")
    click.echo(f"  encoded in {times_sentence(encoded.milliseconds)}")
    click.echo(f"  on {choice.backend.provider}")
