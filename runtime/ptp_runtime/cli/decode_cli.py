"""``ptp decode``."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_runtime.bundle import Bundle
from ptp_runtime.cli.options import (
    backend_options,
    backend_values,
    bundle_argument,
    check_output,
    float_streams_option,
    golden_values,
    json_option,
    print_json,
    read_stream,
    times_sentence,
)
from ptp_runtime.manifest import TASK_IDS
from ptp_runtime.rate import rate_values
from ptp_runtime.stopwatch import times_values


@click.command()
@bundle_argument
@click.argument("stream", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Result file to write.")
@click.option(
    "--task",
    type=click.Choice(tuple(TASK_IDS)),
    help="Of a bundle of several tasks: show the stream's photo to this one.  [default: the one it was coded for]",
)
@float_streams_option
@backend_options()
@json_option
def decode(
    bundle: Path,
    stream: Path,
    output: Path,
    task: str | None,
    float_streams: str,
    backend: str,
    threads: int | None,
    inexact: str,
    trust: str | None,
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
      ptp decode BUNDLE photo.ptp -o boxes.json --task det   # what another task of the bundle makes of it
      ptp decode BUNDLE photo.ptp -o mask.png --float-streams any    # a float stream from elsewhere: try it
    """
    from ptp_runtime.atomic import write_bytes
    from ptp_runtime.result_files import file_bytes, result_sentence, result_values
    from ptp_runtime.shared_session import SharedSession, task_of_stream

    check_output(output, stream, bundle)
    data = read_stream(stream)
    opened = Bundle.open(bundle)
    coded_for = task_of_stream(data, opened)
    with SharedSession.open(
        opened,
        backend,
        threads,
        [coded_for, *([] if task is None else [task])],
        inexact=inexact,
        trust=trust,
        float_streams=float_streams,
        profile=profile,
    ) as sessions:
        decoded = sessions.decode_detailed(data, task=task, keep_steps=False)
        session = sessions.session(coded_for)
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
