"""The long run of ``ptp interop``: 10^8 symbols and more, integer and float entropy path side by side.

    python benchmarks/interop.py INTEGER_BUNDLE FLOAT_BUNDLE [--with BUNDLE ...] [--photos DIR] [--symbols N]
        [--json FILE]

Bundles are compared one after the other on the same pieces of photographs, at least N symbols each (those of ``--with``
a tenth of it): the ones of integer mode make the promise, those of float mode show what happens without it. The default
takes minutes on an idle machine; ``--symbols 1000000000`` is the run that takes an hour.

What is written: for each bundle how many symbols, how many differ, which configurations took part with what provider
and at what speed, and where a cell first differs. Speeds are medians over the decodings of one configuration among the
others; threads are as the configuration says.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import click
from environment import environment

from ptp_export.interop.configurations.available import all_configurations
from ptp_export.interop.interop import compare_bundles
from ptp_export.interop.latents import PIECES
from ptp_export.interop.report import Findings, document

#: The pieces of the command, between larger ones that carry the number of symbols.
SIZES = (None, PIECES[1], None, PIECES[2], None, PIECES[3], None, PIECES[4])


class Minutes:
    """A line a minute on stderr."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def opening(self, name: str) -> None:
        print(f"loading {name}", file=sys.stderr)

    def compared(self, symbols: int, wanted: int) -> None:
        if time.monotonic() - self.last > 60 or symbols >= wanted:
            self.last = time.monotonic()
            print(f"{symbols:,} of {wanted:,}", file=sys.stderr)


def condensed(findings: list[Findings]) -> dict[str, object]:
    """The document of the command without its thousand cells: those that differ are kept, the others are counted."""
    found = document(findings)
    cells = found.pop("cells")
    items = {bundle["bundle"]: bundle.pop("items") for bundle in found["bundles"]}
    for bundle in found["bundles"]:
        taken = items[bundle["bundle"]]
        bundle["items"] = len(taken)
        bundle["photos"] = len({item["photo"] for item in taken})
        bundle["rates"] = len({item["rate"] for item in taken})
        bundle["sizes"] = len({(item["height"], item["width"]) for item in taken})
        bundle["matrix"] = matrix(bundle, cells)
    differing = [cell for cell in cells if cell["status"] == "differs"]
    measured_on = environment()
    packages = {**measured_on["packages"], "openvino": importlib.metadata.version("openvino")}
    return {**found, "environment": {**measured_on, "packages": packages}, "differing_cells": differing[:20]}


def matrix(bundle: dict, cells: list[dict]) -> list[list[int]]:
    """Differing symbols, one row an encoder, one column a decoder, in the order of the configurations."""
    names = [one["name"] for one in bundle["configurations"]]
    found = {(c["encoder"], c["decoder"]): c["differences"] for c in cells if c["bundle"] == bundle["bundle"]}
    return [[found[encoder, decoder] for decoder in names] for encoder in names]


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=FOLDER)
@click.option("--with", "others", multiple=True, type=FOLDER, help="Further bundles, on a tenth of the symbols.")
@click.option("--photos", type=FOLDER, help="[default: the shipped ones]")
@click.option("--symbols", default=100_000_000, show_default=True, type=click.IntRange(min=1), help="A bundle.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    bundles: tuple[Path, ...], others: tuple[Path, ...], photos: Path | None, symbols: int, output: Path | None
) -> None:
    findings = []
    for group, wanted in ((bundles, symbols), (others, symbols // 10 or 1)):
        configurations = all_configurations()
        findings += compare_bundles(group, configurations, photos, wanted, Minutes(), builds=True, sizes=SIZES)
    found = condensed(findings)
    for bundle in found["bundles"]:
        print(f"{bundle['bundle']} ({bundle['mode']}): {bundle['differences']} of {bundle['symbols']:,} symbols differ")
    if output:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
