"""``ptp verify``: a bundle against PyTorch, on real photos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptp_export.command import PtpCommand
from ptp_runtime.errors import VerificationError

if TYPE_CHECKING:
    from ptp_export.verify.integers import IntegerResult
    from ptp_export.verify.report import Report

_EPILOG = """\b
Examples:
  ptp verify bundle
  ptp verify bundle --photos my-photos --json

\b
Exit codes: 0 every limit kept, 5 an unusable bundle, 7 not the checkpoint it came from, 9 a limit was passed or
nothing was compared.
"""


@click.command(cls=PtpCommand, name="verify", epilog=_EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--task", help="Of a bundle of several tasks.  [default: its main one]")
@click.option("--checkpoint", default="demo", show_default=True, help="The checkpoint that the bundle came from.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of real photos.  [default: the shipped parity photographs]",
)
@click.option("--backend", default="cpu", show_default=True, help="What runs the graphs: as for ptp infer.")
@click.option("--limits", type=click.Path(path_type=Path), help="Another file of limits.  [default: the package's]")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_command(
    bundle: Path,
    task: str | None,
    checkpoint: str,
    photos: Path | None,
    backend: str,
    limits: Path | None,
    as_json: bool,
) -> None:
    """Compare every graph of BUNDLE and the whole chain with PyTorch, on real photos.

    An integer entropy path is proved exact again from its files, computed again by an implementation that is not the
    runtime's, without one differing integer, and its bytes are compared with those of the checkpoint's float path.

    Each graph gets the inputs that PyTorch had, so that its own error shows; then the runtime encodes and decodes each
    photo, and its symbols, its feature and its output are compared with PyTorch's. What the decoder reads must be what
    the encoder wrote, symbol for symbol. Limits are fixed beforehand; comparing nothing is a failure.
    """
    from ptp_export.verify.limits import Limits
    from ptp_export.verify.verify_bundle import photos_from, verify_bundle

    chosen = None if photos is None else photos_from(photos)
    report = verify_bundle(bundle, checkpoint, chosen, backend, Limits.load(limits), _Lines(), task)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _show(report)
    failures = report.failures()
    if failures:
        raise VerificationError(
            f"{bundle} does not compute what the checkpoint computes",
            expected="every limit kept",
            got=f"{len(failures)} failures, the first: {failures[0]}",
            hint="export it again; in more bits (without --int8 or --fp16) if a converted graph is the one that fails",
        )


class _Lines:
    """A line a photo on stderr."""

    def photo(self, number: int, count: int, name: str) -> None:
        click.echo(f"{number}/{count}  {name}", err=True)


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    graphs = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("graph", "role", "precision"):
        graphs.add_column(heading)
    for heading in ("worst error", "typical error", "passed"):
        graphs.add_column(heading, justify="right")
    for graph in report.graphs:
        worst, typical = f"{graph.worst:.2e}", f"{graph.typical:.2e}"
        graphs.add_row(graph.name, graph.role, graph.precision, worst, typical, "yes" if graph.passed else "NO")
    chain = Table(box=None, pad_edge=False, header_style="bold")
    chain.add_column("photo")
    headings = (
        "size",
        "bytes",
        "bpp",
        "symbols differ",
        "error of h",
        _DISAGREEMENT[report.task],
        "round trip",
        "passed",
    )
    for heading in headings:
        chain.add_column(heading, justify="right")
    for result in report.chain:
        chain.add_row(
            result.photo,
            f"{result.height}x{result.width}",
            str(result.size_bytes),
            f"{result.bits_per_pixel:.3f}",
            f"{result.symbols_differing:.2e}",
            f"{result.feature:.2e}",
            f"{result.disagreement:.2%}",
            "exact" if result.round_trip_errors == 0 else f"{result.round_trip_errors} wrong",
            "yes" if not result.problems() else "NO",
        )
    # A pipe has no width of its own; wrapped rows help nobody.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(graphs)
    click.echo(
        "Errors are relative: worst to the largest value, typical as root mean square; of index and mean, the share of"
        " values that differ."
    )
    click.echo()
    console.print(chain)
    if report.gate is not None:
        click.echo()
        click.echo(report.gate.sentence())
    if report.integers is not None:
        click.echo()
        click.echo(_integers(report.integers))
    if report.left_out:
        click.echo(f"Left out, because the bundle was calibrated on them: {', '.join(report.left_out)}.")
    if report.passed:
        click.echo(
            f"{report.bundle} computes what the checkpoint computes, on {len(report.chain)} photos ({report.backend})."
        )


def _integers(found: IntegerResult) -> str:
    from ptp_export.entropy.rate_cost import total

    worst, whole = found.certificate["worst"], total(found.costs)
    return (
        f"Entropy path in integers: proved exact (closest to 2^24: {worst['layer']}, channel {worst['channel']}, at"
        f" {worst['share']:.2%}); {found.differing} of {found.compared} indices and means differ from an independent"
        f" implementation; {whole.integer_bytes} bytes against {whole.float_bytes} with the float path"
        f" ({found.cost:+.2%}, limit {found.limit:+.0%})."
    )


_DISAGREEMENT = {"seg": "mask differs", "det": "worst probability", "cls": "worst probability", "view": "picture error"}
