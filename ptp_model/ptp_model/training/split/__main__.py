"""``python -m ptp_model.training.split``: check the table of photographs, or write it anew."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ptp_model.errors import ModelError
from ptp_model.training import split
from ptp_model.training.photos import selection
from ptp_model.training.split import compose

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--prepared", type=FILE, required=True, help="index.json of the prepared Debian photographs.")
@click.option(
    "--coco",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder images/ of the labelled photographs.",
)
@click.option("--shipped", type=FILE, required=True, help="photos.json of the photographs in the package.")
@click.option("--write", is_flag=True, help="Write the table instead of comparing with it.")
def main(prepared: Path, coco: Path, shipped: Path, write: bool) -> None:
    """Compare the committed table with the photographs that it governs.

    Scenes are written into the table by hand and stay; everything else follows from the photographs.
    """
    path = compose.committed()
    try:
        earlier = split.parse(path.read_text(encoding="utf-8")) if path.is_file() else split.Split(())
        entries = (
            *compose.debian_entries(selection.load(), prepared),
            *compose.coco_entries(coco),
            *compose.shipped_entries(shipped),
        )
        made = compose.with_scenes(entries, earlier)
        text = compose.text_of(made)
        split.parse(text)
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    if write:
        beside = path.with_name(path.name + ".part")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    elif made != earlier:
        known = set(earlier.entries)
        wrong = [entry.name for entry in made.entries if entry not in known]
        raise click.ClickException(
            f"{path.name} does not fit the photographs (first: {wrong[0] if wrong else 'a superfluous row'}); "
            "give --write to write it anew"
        )
    click.echo(f"{len(made.entries)} photographs, {path.name} {'written' if write else 'fits'}")


if __name__ == "__main__":
    main()
