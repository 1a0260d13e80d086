"""``ptp export-triton``."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_runtime.cli.options import bundle_argument, json_option, print_json

_OPERATIONS = ("encode", "decode", "infer")


@click.command(name="export-triton", context_settings={"show_default": True})
@bundle_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Model repository (a new directory) to write.",
)
@click.option(
    "--operation",
    "operations",
    type=click.Choice(_OPERATIONS),
    multiple=True,
    default=_OPERATIONS,
    help="Which models each task gets; may be given several times.",
)
@click.option(
    "--graphs",
    type=click.Choice(("session", "onnxruntime", "tensorrt")),
    default="session",
    help="Who runs analysis, synthesis and head: the session in the Python model, which needs no other backend, or"
    " models of their own by Triton's onnxruntime or tensorrt backend, asked by business-logic scripting.",
)
@click.option("--instances", type=click.IntRange(1), default=1, help="Of each model; each holds a session of its own.")
@click.option("--kind", type=click.Choice(("cpu", "gpu")), default="cpu", help="Where instances run.")
@click.option("--prefix", default="", help="Before the models' names: PREFIX_seg_infer.")
@click.option(
    "--trust",
    help="Who vouches for the bundle's engines, which are code: the manifest's SHA-256, the PEM file of a public key,"
    " or any. The copies are then pinned by their digests. Without it engines are left aside.",
)
@json_option
def export_triton(
    bundle: Path,
    output: Path,
    operations: tuple[str, ...],
    graphs: str,
    instances: int,
    kind: str,
    prefix: str,
    trust: str | None,
    as_json: bool,
) -> None:
    """Write BUNDLE as a model repository of NVIDIA's Triton Inference Server.

    Each task becomes the models TASK_encode, TASK_decode and TASK_infer: Triton's Python backend runs the session and
    the coder in them, so ptp-deploy must be installed in its Python. Inputs and outputs are those of ptp serve.

    \b
    Examples:
      ptp export-triton BUNDLE -o MODELS
      ptp export-triton BUNDLE -o MODELS --operation decode --instances 4
      tritonserver --model-repository MODELS
    """
    from ptp_runtime.service.triton.repository import Layout, write_repository

    names = write_repository(bundle, output, Layout(operations, graphs, instances, kind, prefix, trust))
    if as_json:
        print_json({"output": output, "models": names})
        return
    click.echo(f"{bundle} → {output}")
    for name in names:
        click.echo(f"  {name}")
