"""``ptp decode``."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_runtime.cli.options import (
    backend_options,
    backend_values,
    bundle_argument,
    check_output,
    float_streams_option,
    golden_values,
    json_option,
    print_json,
    rate_values,
    read_stream,
    times_sentence,
    times_values,
)


@click.command()
@bundle_argument
@click.argument("stream", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Result file to write.")
@float_streams_option
@backend_options
@json_option
def decode(
    bundle: Path,
    stream: Path,
    output: Path,
    float_streams: str,
    backend: str,
    threads: int | None,
    inexact: str,
    profile: str,
    as_json: bool,
) -> None:
    """Decode STREAM with BUNDLE into the task's result.

    \b
    What is written depends on the bundle's task:
      seg    a palette PNG: pixel values are class numbers, colours are PASCAL VOC's
      det    a JSON document of boxes
      cls    a JSON document of the likeliest classes, with the probabilities of all
      view   an RGB PNG

    \b
    Examples:
      ptp decode BUNDLE photo.ptp -o mask.png
      ptp decode BUNDLE photo.ptp -o mask.png --json
      ptp decode BUNDLE photo.ptp -o mask.png --float-streams any    # a float stream from elsewhere: try it
    """
    from ptp_runtime.atomic import write_bytes
    from ptp_runtime.cli.results import file_bytes, result_sentence, result_values
    from ptp_runtime.session import Session

    check_output(output, stream, bundle)
    data = read_stream(stream)
    with Session.open(
        bundle, backend=backend, threads=threads, inexact=inexact, float_streams=float_streams, profile=profile
    ) as session:
        decoded = session.decode_detailed(data, keep_steps=False)
        choice = session.backend
    write_bytes(output, file_bytes(decoded.output))
    if as_json:
        print_json(
            {
                "output": output,
                "result": result_values(decoded.output),
                **rate_values(decoded.rate),
                "milliseconds": times_values(decoded.milliseconds),
                "backend": backend_values(choice),
                "golden": golden_values(session.golden),
            }
        )
        return
    click.echo(f"{stream} → {output}")
    click.echo(f"  {result_sentence(decoded.output)}")
    click.echo(f"  {decoded.rate.sentence()}")
    click.echo(f"  decoded in {times_sentence(decoded.milliseconds)}")
    click.echo(f"  on {choice.backend.provider}")
