"""``ptp split``."""

from __future__ import annotations

from pathlib import Path

import click

from ptp_runtime.cli.options import bundle_argument, json_option, print_json
from ptp_runtime.manifest import SIDES


@click.command()
@bundle_argument
@click.option("--side", type=click.Choice(SIDES[1:]), required=True, help="What the new bundle is for.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Bundle (a directory) to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@json_option
def split(bundle: Path, side: str, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write one side of BUNDLE: the encoder's for a camera, the decoder's for a server.

    \b
      encoder   analysis and entropy path
      decoder   entropy path, synthesis and the task's head

    Streams are those of the whole bundle.

    \b
    Examples:
      ptp split BUNDLE --side encoder -o CAMERA
      ptp split BUNDLE --side decoder -o SERVER
    """
    from ptp_runtime.splitting import split_bundle

    manifest = split_bundle(bundle, side, output, overwrite=overwrite)
    sizes = {entry.file: (output / entry.file).stat().st_size for entry in manifest.files()}
    if as_json:
        print_json({"output": output, "side": side, "bytes": sum(sizes.values()), "files": sizes})
        return
    click.echo(f"{bundle} → {output}")
    click.echo(f"  the {side}'s side: {', '.join(graph.name for graph in manifest.graphs)}")
    click.echo(f"  {sum(sizes.values()) / 1e6:.2f} MB")
