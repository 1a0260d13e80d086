"""``ptp interop``: streams of every backend, decoded by every backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptp_export.command import PtpCommand
from ptp_runtime.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from ptp_export.interop.report import Findings

_EPILOG = """\b
Examples:
  ptp interop bundle
  ptp interop bundle --with zigzag-bundle --symbols 10000000 --json interop.json
  ptp interop bundle --with float-bundle --only openvino --only "level all"

\b
Exit codes: 0 every symbol of every cell is equal, 3 an unusable photo, 5 an unusable bundle, 9 something differs,
a builder refused a graph, or nothing was compared.
"""


@click.command(cls=PtpCommand, name="interop", epilog=_EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--with", "others", multiple=True, type=click.Path(path_type=Path), help="Another bundle; may be repeated."
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of real photos.  [default: the shipped parity photographs]",
)
@click.option(
    "--symbols",
    default=10_000_000,
    show_default=True,
    type=click.IntRange(min=1),
    help="To compare at least, a bundle.",
)
@click.option("--only", multiple=True, metavar="TEXT", help="Only configurations whose name has this text; repeatable.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
def interop_command(
    bundle: Path,
    others: tuple[Path, ...],
    photos: Path | None,
    symbols: int,
    only: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Encode real photos with each backend and decode each stream with each other backend.

    What is compared is every scale index and every mean behind every symbol. Latents are those of real photos, several
    rates and sizes, from one run of the analysis; so streams differ only where the entropy path does. A bundle with a
    float entropy path is compared in the same way and shows what it is that the integer path avoids.
    """
    if json_file is not None and not json_file.absolute().parent.is_dir():  # before minutes of work
        raise UsageError(
            f"{json_file} cannot be written", expected="a folder that exists", got=str(json_file.absolute().parent)
        )
    from ptp_export.interop.configurations.available import all_configurations, chosen
    from ptp_export.interop.interop import compare_bundles
    from ptp_export.interop.report import document
    from ptp_runtime.atomic import write_bytes

    configurations = chosen(all_configurations(), only)
    findings = compare_bundles((bundle, *others), configurations, photos, symbols, _Lines(), builds=not only)
    for one in findings:
        _show(one)
    found = document(findings)
    if json_file is not None:
        write_bytes(json_file, (json.dumps(found, indent=1) + "\n").encode())
    problems = [problem for one in findings for problem in one.problems()]
    if problems:
        raise VerificationError(
            "the backends do not agree" if found["symbols"] else "nothing was compared",
            expected="every symbol equal in every cell",
            got="; ".join(problems),
            hint="a float entropy path differs by its nature: export with --entropy-path integer",
        )


class _Lines:
    """Progress, a line an event on stderr."""

    def opening(self, name: str) -> None:
        click.echo(f"loading {name}", err=True)

    def compared(self, symbols: int, wanted: int) -> None:
        click.echo(f"{symbols:,} of {wanted:,} symbols compared", err=True)


def _show(findings: Findings) -> None:
    from rich.console import Console

    from ptp_export.interop.report import BUILT, cell_words, configuration_table, matrix_table

    # A pipe has no width of its own; wrapped rows help nobody.
    console = Console() if sys.stdout.isatty() else Console(width=220)
    matrix = findings.matrix
    entropy = matrix.bundle.manifest.entropy
    click.echo(f"{findings.name}: {entropy.mode} entropy path, {findings.context}, {len(entropy.schedule)} steps")
    console.print(configuration_table(findings))
    click.echo()
    console.print(matrix_table(findings))
    _list(
        "Not compared:",
        [
            f"{one.name}: {one.reason if not one.same_as else f'the same as {one.same_as}, {one.reason}'}"
            for one in matrix.absent
        ],
    )
    _list(
        "Engines:",
        [f"{build.provider}: {build.problem or f'{build.graphs} graphs {BUILT}'}" for build in findings.builds],
    )
    _list("First differences:", [cell_words(cell) for cell in matrix.cells if cell.first is not None][:10])
    shared = sum(cell.shared for cell in matrix.cells)
    click.echo(
        f"{matrix.symbols:,} symbols of {len(matrix.items)} latents compared, {matrix.differences:,} differ."
        f" {shared:,} of {sum(cell.streams for cell in matrix.cells):,} streams in the cells are byte for byte those of"
        f" an earlier encoder and were decoded once for all of them; they are not counted again."
    )
    click.echo()


def _list(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo()
        click.echo(title)
        for line in lines:
            click.echo(f"  {line}")
