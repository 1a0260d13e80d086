"""``ptp infer``."""

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
from ptp_runtime.errors import UsageError
from ptp_runtime.rate import rate_values
from ptp_runtime.stopwatch import times_values


@click.command()
@bundle_argument
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory for the three files.")
@rate_option
@task_option
@convert_option
@step_checks_option
@backend_options()
@json_option
def infer(
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
    """Code PHOTO with BUNDLE, decode the stream, and show what came of it.

    \b
    Three files are written into the output directory, named after the photo:
      photo.ptp            the stream: what would be sent
      photo.mask.png       the result (seg; photo.boxes.json for det, photo.classes.json for cls,
                           photo.view.png for view)
      photo.overlay.png    photo and result side by side, to look at

    \b
    Examples:
      ptp infer BUNDLE photo.jpg -o OUT
      ptp infer BUNDLE photo.jpg -o OUT --rate 0             # as few bits as the bundle can
      ptp infer BUNDLE photo.jpg -o OUT --json
    """
    from ptp_runtime.atomic import write_bytes
    from ptp_runtime.overlay import overlay
    from ptp_runtime.palette import png_from_image
    from ptp_runtime.result_files import file_bytes, file_suffix, result_sentence, result_values
    from ptp_runtime.session import Session

    _require_folder(output)
    pixels = read_photo(photo, convert)
    with Session.open(
        bundle, backend, threads, task, inexact=inexact, trust=trust, step_checks=step_checks, profile=profile
    ) as session:
        result = session.infer(pixels, rate=rate)
        choice, coded_rate = session.backend, session.default_rate if rate is None else rate
    encoded_in = sum(result.encode_milliseconds.values())
    decoded_in = sum(result.decode_milliseconds.values())
    lines = [result.rate.sentence(), f"encoded in {encoded_in:.1f} ms, decoded in {decoded_in:.1f} ms"]
    contents = {
        "stream": (".ptp", result.data),
        "result": (file_suffix(result.output), file_bytes(result.output)),
        "overlay": (".overlay.png", png_from_image(overlay(pixels, result.output, lines))),
    }
    # All three are ready before the first is written.
    files = {what: output / (photo.stem + suffix) for what, (suffix, _) in contents.items()}
    for path in files.values():
        check_output(path, photo)
    output.mkdir(parents=True, exist_ok=True)
    for what, path in files.items():
        write_bytes(path, contents[what][1])
    if as_json:
        print_json(
            {
                "files": files,
                "rate": coded_rate,
                "result": result_values(result.output),
                **rate_values(result.rate),
                "milliseconds": {
                    "encode": times_values(result.encode_milliseconds),
                    "decode": times_values(result.decode_milliseconds),
                },
                "backend": backend_values(choice),
                "golden": golden_values(session.golden),
            }
        )
        return
    click.echo(f"{photo} → {', '.join(str(path) for path in files.values())}")
    click.echo(f"  {result_sentence(result.output)}")
    click.echo(f"  {result.rate.sentence()}{rate_note(session, coded_rate)}")
    click.echo(f"  encoded in {times_sentence(result.encode_milliseconds)}")
    click.echo(f"  decoded in {times_sentence(result.decode_milliseconds)}")
    click.echo(f"  on {choice.backend.provider}")


def _require_folder(output: Path) -> None:
    """Refuse early what could not become a directory."""
    if output.exists() and not output.is_dir():
        raise UsageError(
            f"{output} is no directory", expected="a directory for the three files", hint="choose another name"
        )
    if (output / "manifest.json").exists():
        raise UsageError(
            f"{output} is a bundle", expected="a directory of its own for the three files", hint="choose another name"
        )
