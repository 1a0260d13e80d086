"""``ptp-export``: a checkpoint's task as a bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptp_export.command import PtpCommand
from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.options_cli import engine_options
from ptp_export.engines.proof_lines import proof_lines
from ptp_export.engines.targets import TARGET_NAMES
from ptp_export.options import ENGINE_RANGE, ENTROPY_PATHS, TASKS, WHOLE_RANGE, ExportOptions
from ptp_export.precision.choices import PrecisionChoices
from ptp_export.precision.options_cli import precision_options
from ptp_export.sizes import Size, SizeRange
from ptp_runtime.errors import UsageError

if TYPE_CHECKING:
    from ptp_export.pipeline import ExportResult

_EPILOG = """\b
Examples:
  ptp-export --task seg --fp16 -o bundle
  ptp-export --task seg --int8 --fp16 --best --calibration photos -o bundle
  ptp-export --task seg --task det --task cls --shared -o bundle
  ptp-export --task det --size 512x768 --target tensorrt-rtx -o bundle
  ptp-export --task view --checkpoint my-checkpoint --max-size 1088x1920 --target tensorrt-rtx -o bundle

\b
ptp-export prompt adds a task to a bundle that --shared made (ptp-export prompt --help).

\b
Exit codes: 0 done, 2 a request that makes no sense, 7 an unusable checkpoint, 8 a stage failed or a precision was
not reached (the message holds the command that repeats it), 10 a builder is not installed.
"""


@click.command(cls=PtpCommand, name="export", epilog=_EPILOG)
@click.option(
    "--task",
    "tasks",
    type=click.Choice(TASKS),
    required=True,
    multiple=True,
    help="seg: mask; det: boxes; cls: ImageNet class; view: photo. Repeatable with --shared, the main one first.",
)
@click.option("--shared", is_flag=True, help="One set of codec graphs for several tasks, whose prompts are inputs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle (a directory) to write.")
@click.option(
    "--checkpoint", default="demo", show_default=True, help="Checkpoint folder, or 'demo' for the shipped one."
)
@precision_options
@click.option(
    "--entropy-path",
    type=click.Choice(ENTROPY_PATHS),
    default="integer",
    show_default=True,
    help="integer: streams decode on every backend. float: on the same backend and build only.",
)
@click.option("--size", metavar="HxW", help="One fixed photo size, in pixels. Default: any size up to 4096x4096.")
@click.option(
    "--min-size", metavar="HxW", help=f"Smallest photo of a dynamic export.  [default: {ENGINE_RANGE.smallest}]"
)
@click.option(
    "--typical-size", metavar="HxW", help=f"The photo engines are tuned for.  [default: {ENGINE_RANGE.typical}]"
)
@click.option(
    "--max-size",
    metavar="HxW",
    help=f"Largest photo of a dynamic export.  [default: {WHOLE_RANGE.largest}; engines: {ENGINE_RANGE.largest}]",
)
@click.option(
    "--target",
    "targets",
    type=click.Choice(TARGET_NAMES),
    multiple=True,
    help="Build engines too; repeatable. ONNX is always written. tensorrt-rtx builds without a GPU.",
)
@click.option(
    "--device", "devices", metavar="CC", multiple=True, help="Compute capability for engines, such as 8.9; repeatable."
)
@click.option(
    "--default-rate",
    type=click.IntRange(min=0),
    help="Of several rates: the one that encoders take unless asked otherwise.  [default: the checkpoint's]",
)
@click.option("--allow-partial", is_flag=True, help="Accept layers that stay in FP32 without a named reason.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--only", metavar="GRAPH", default="", help="Process one graph and write no bundle (to repeat a failure)."
)
@click.option("--log-dir", type=click.Path(path_type=Path), help="Logs of engine builds.  [default: OUTPUT.log]")
@click.option("--build-timeout", type=float, default=900.0, show_default=True, help="Seconds one engine may take.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def export_command(
    tasks: tuple[str, ...],
    shared: bool,
    output: Path,
    checkpoint: str,
    precision: PrecisionChoices,
    entropy_path: str,
    size: str | None,
    min_size: str | None,
    typical_size: str | None,
    max_size: str | None,
    targets: tuple[str, ...],
    devices: tuple[str, ...],
    default_rate: int | None,
    allow_partial: bool,
    overwrite: bool,
    only: str,
    log_dir: Path | None,
    build_timeout: float,
    choices: BuildChoices,
    as_json: bool,
) -> None:
    """Export one task of a checkpoint to a bundle: ONNX graphs, tables, engines and a manifest.

    A bundle is all that a device needs; it is read without torch. Every graph is cut, exported, converted and built on
    its own, and the table at the end says what came of it.
    """
    tasks = tuple(dict.fromkeys(tasks))
    if len(tasks) > 1 and not shared:
        raise UsageError(
            "a bundle of several tasks shares its graphs",
            expected="one --task, or --shared",
            got=" ".join(f"--task {task}" for task in tasks),
            hint="add --shared, or export a bundle for each task",
        )
    accepted, profile = _sizes(size, min_size, typical_size, max_size)
    logs = log_dir or output.with_name(output.name + ".log")
    if logs.exists() and not logs.is_dir():
        raise UsageError(
            f"no logs can be written to {logs}",
            expected="a folder, or nothing",
            got="a file of that name",
            hint="remove it, or give another --log-dir",
        )
    options = ExportOptions(
        task=tasks[0],
        checkpoint=checkpoint,
        output=output,
        precision=precision,
        accepted=accepted,
        profile=profile,
        targets=targets,
        devices=devices,
        allow_partial=allow_partial,
        overwrite=overwrite,
        only=only,
        log_folder=logs,
        build_timeout_s=build_timeout,
        default_rate=default_rate,
        entropy_path=entropy_path,
        choices=choices,
        shared=tasks if shared else (),
    )
    from ptp_export.progress import ProgressBar

    if shared:
        _export_shared(options, as_json)
        return
    from ptp_export.pipeline import export

    with ProgressBar(sys.stderr) as bar:
        result = export(options, bar)
    if as_json:
        click.echo(json.dumps(_json(result), indent=2))
    else:
        _show(result)


def _export_shared(options: ExportOptions, as_json: bool) -> None:
    from ptp_export.progress import ProgressBar
    from ptp_export.shared.export_shared import audit_of, export_shared

    with ProgressBar(sys.stderr) as bar:
        result = export_shared(options, options.shared, bar)
    audit = audit_of(result)
    if as_json:
        click.echo(json.dumps({"bundle": str(options.output)} | audit, indent=2))
        return
    for name, task in audit["tasks"].items():
        graphs = ", ".join(f"{graph} {precision}" for graph, precision in task["graphs"].items())
        prompt = sum(task["prompt_bytes"].values())
        click.echo(f"{name}: {graphs}; prompt of {prompt / 1000:.1f} kB; integers cost {task['cost']:+.2%} bits of y.")
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    total = sum(result.seconds.values())
    click.echo(
        f"Wrote {options.output} ({size / 1e6:.2f} MB) for {', '.join(options.shared)} in {total:.1f} s. Check it with:"
        f" ptp verify {options.output} --task {options.shared[0]}"
    )


def _sizes(
    size: str | None, smallest: str | None, typical: str | None, largest: str | None
) -> tuple[SizeRange, SizeRange]:
    """What the graphs accept, and what engines are built for."""
    if size is not None:
        if smallest or typical or largest:
            raise UsageError(
                "--size fixes the size, so a range makes no sense",
                expected="--size, or --min-size/--typical-size/--max-size",
                got="both",
            )
        static = SizeRange.static(Size.parse(size))
        return static, static
    if not (smallest or typical or largest):
        return WHOLE_RANGE, ENGINE_RANGE
    low = Size.parse(smallest) if smallest else ENGINE_RANGE.smallest
    high = Size.parse(largest) if largest else ENGINE_RANGE.largest
    middle = Size.parse(typical) if typical else _between(low, ENGINE_RANGE.typical, high)
    chosen = SizeRange(low, middle, high)
    return chosen, chosen


def _between(low: Size, wanted: Size, high: Size) -> Size:
    """The default typical size, moved into a range that was asked for."""
    return Size(min(max(wanted.height, low.height), high.height), min(max(wanted.width, low.width), high.width))


def _json(result: ExportResult) -> dict[str, Any]:
    from ptp_export.conversion.convert import search_audit

    return {
        "bundle": None if result.bundle is None else str(result.bundle),
        "identity": None if result.manifest is None else result.manifest.entropy.identity,
        "entropy": None if result.integers is None else result.integers.audit(),
        "graphs": [
            {
                "name": graph.name,
                "role": graph.onnx.role,
                "precision": graph.precision,
                "onnx_bytes": len(graph.onnx.data),
                "audit": None if graph.audit is None else graph.audit.to_dict(),
                "engines": [
                    {
                        "target": engine.target.name,
                        "version": engine.version,
                        "bytes": len(engine.data),
                        "build_seconds": round(engine.seconds, 3),
                        "cached": engine.cached,
                        "proof": engine.proof.to_dict(),
                        "audit": None if engine.audit is None else engine.audit.to_dict(),
                        "plan_smoke_check": engine.smoke.to_dict(),
                    }
                    for engine in graph.engines
                ],
            }
            for graph in result.graphs
        ],
        "best": None if result.search is None else search_audit(result.search),
        "seconds": {name: round(seconds, 3) for name, seconds in result.seconds.items()},
    }


def _show(result: ExportResult) -> None:
    from rich.console import Console
    from rich.table import Table

    targets = list(dict.fromkeys(engine.target.name for graph in result.graphs for engine in graph.engines))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("graph", "role", "precision"):
        table.add_column(heading)
    shown = _precisions(result)
    for heading in ("ONNX kB", *(f"{name.upper()} arithmetic" for name in shown)):
        table.add_column(heading, justify="right")
    for target in targets:
        table.add_column(f"{target} kB", justify="right")
        table.add_column("build s", justify="right")
    for graph in result.graphs:
        shares = ["–"] * len(shown)
        if graph.audit is not None:
            shares = [f"{graph.audit.arithmetic.get(name, 0.0):.1%}" for name in shown]
        row = [graph.name, graph.onnx.role, graph.precision, f"{len(graph.onnx.data) / 1000:.1f}", *shares]
        by_target = {engine.target.name: engine for engine in graph.engines}
        for target in targets:
            engine = by_target.get(target)
            seconds = "" if engine is None else "cached" if engine.cached else f"{engine.seconds:.2f}"
            row += ["–", "–"] if engine is None else [f"{len(engine.data) / 1000:.1f}", seconds]
        table.add_row(*row)
    # A pipe has no width of its own; wrapped rows help nobody.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    for line in (*_precision(result), *proof_lines(result.graphs), *_entropy(result)):
        click.echo(line)
    total = sum(result.seconds.values())
    if result.bundle is None:
        click.echo(f"No bundle was written (--only); {total:.1f} s.")
    else:
        size = sum(path.stat().st_size for path in result.bundle.rglob("*") if path.is_file())
        click.echo(
            f"Wrote {result.bundle} ({size / 1e6:.2f} MB) in {total:.1f} s. Check it with: ptp verify {result.bundle}"
        )


def _precisions(result: ExportResult) -> list[str]:
    """Precisions in which converted graphs compute, the shortest first."""
    found = {name for graph in result.graphs if graph.audit is not None for name in graph.audit.arithmetic}
    return [name for name in ("int8", "weight-only", "fp16") if name in found]


def _precision(result: ExportResult) -> list[str]:
    """What each converted graph computes in, and why some layers were left in more bits, a line for each reason."""
    audits = [(graph.name, graph.audit) for graph in result.graphs if graph.audit is not None]
    lines = [f"{name}: {audit.sentence()}." for name, audit in audits if audit.asked == "int8"]
    reasons: dict[str, tuple[str, list[str]]] = {}
    for graph, audit in audits:
        for name, entry in audit.to_dict()["exclusions"].items():
            reasons.setdefault(name, (entry["reason"], []))[1].append(f"{graph} {entry['layers']}")
    lines += [f"Not shortened: {name} ({', '.join(at)} layers): {why}." for name, (why, at) in reasons.items()]
    best = result.search
    if best is not None:
        count = len(best.weighed) or len(best.chosen)
        lines.append(
            f"--best: {len(best.chosen)} of {count} layers in INT8 cost {best.damage.bits:+.2%} bits and"
            f" {best.damage.metric:+.2f} points of the task on the calibration photos."
        )
    return lines


def _entropy(result: ExportResult) -> list[str]:
    """What is to be known of the entropy path, where it was exported."""
    if result.integers is not None:
        audit = result.integers.audit()
        worst, cost = audit["certificate"]["worst"], audit["calibration_cost"]["cost"]
        return [
            f"Entropy path: integers ({audit['precision']}), proved exact; the accumulator closest to 2^24 is"
            f" {worst['layer']}, channel {worst['channel']}, at {worst['share']:.2%}. On the calibration photos y takes"
            f" {cost:+.2%} bits against the float path."
        ]
    if any(graph.onnx.role == "entropy" for graph in result.graphs):
        return [
            "Entropy path: float. Its streams are readable by the same backend, build, kind of CPU and number of"
            " threads only; --entropy-path integer lifts that (docs/entropy-path.md)."
        ]
    return []


def main() -> None:
    """Entry point of the console script ``ptp-export``, and of ``ptp-export prompt``."""
    if sys.argv[1:2] == ["prompt"]:
        from ptp_export.shared.prompt_cli import prompt_command

        prompt_command.main(sys.argv[2:], prog_name="ptp-export prompt")
    export_command.main(prog_name="ptp-export")


if __name__ == "__main__":
    main()
