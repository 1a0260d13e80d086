"""``python -m ptp_model.training.photos``: fetch and prepare the training photographs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from ptp_model.errors import ModelError
from ptp_model.training.photos import debian, selection
from ptp_model.training.photos.prepare import prepare


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the photographs.")
@click.option("--debs", type=click.Path(path_type=Path), help="Folder that keeps the packages (about 305 MB).")
@click.option("--long-side", type=click.IntRange(min=64), default=1024, show_default=True, help="Largest side, pixels.")
def main(output: Path, debs: Path | None, long_side: int) -> None:
    """Download the pinned Debian packages, take the listed photographs out of them and scale them down.

    Nothing is installed. Needs apt-get and dpkg-deb (any Debian); run `apt-get update` once before.
    """
    chosen = selection.load()
    work = Path(tempfile.mkdtemp(prefix="ptp-photos-"))
    try:
        unpacked = {}
        for package in chosen.packages:
            click.echo(f"{package.name} {package.version}")
            deb = debian.download(package, debs or work / "debs")
            unpacked[package.name] = work / package.name
            debian.unpack(deb, unpacked[package.name])
        with click.progressbar(length=len(chosen.sources), label="photographs") as bar:
            index = prepare(chosen, unpacked, output, long_side=long_side, on_photo=lambda name: bar.update(1))
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    click.echo(f"{len(chosen.sources)} photographs, listed in {index}")


if __name__ == "__main__":
    main()
