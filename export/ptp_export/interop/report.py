"""What ``ptp interop`` found out, as a document and as tables."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ptp_export.evaluation.environment import environment
from ptp_export.interop.configurations.engine_paths import BuildCheck
from ptp_export.interop.matrix import Cell, Matrix, Taking

PACKAGES = ("onnx", "openvino", "tensorrt-rtx", "tensorrt", "numba")
#: Status of a cell that stands for engines that were built and never ran.
BUILT = "built, not run"


@dataclass(frozen=True)
class Findings:
    """One bundle's matrix, and the engines that were built from it.

    Attributes:
        matrix: see there.
        builds: one for each builder.
        photos_from: provenance of the photos.
        name: of the bundle, unique among those compared.
    """

    matrix: Matrix
    builds: tuple[BuildCheck, ...]
    photos_from: str
    name: str

    @property
    def context(self) -> str:
        """``checkerboard`` or ``zigzag``: what kind of steps the schedule has."""
        regions = {step.region for step in self.matrix.bundle.manifest.entropy.schedule}
        return "zigzag" if any("-" in region for region in regions) else "checkerboard"

    def problems(self) -> list[str]:
        """Why this is no success: differences, refused builds, or that nothing was compared."""
        matrix = self.matrix
        found = [f"{self.name}: {build.name} refused a graph: {build.problem}" for build in self.builds if build.failed]
        if not matrix.symbols:
            found.append(f"{self.name}: nothing was compared")
        if matrix.differences:
            found.append(
                f"{self.name}: {matrix.differences} of {matrix.symbols} symbols differ; {first_difference(matrix)}"
            )
        return found


def document(findings: Sequence[Findings]) -> dict[str, Any]:
    """Everything, for ``--json``.

    Returns:
        ``symbols``, ``differences`` and ``cells`` over all bundles (a cell says which one it belongs to),
        ``bundles`` one by one, and the environment.
    """
    env = environment(0)
    packages = {**env["packages"], **_versions(PACKAGES)}  # type: ignore[dict-item]
    return {
        "symbols": sum(one.matrix.symbols for one in findings),
        "differences": sum(one.matrix.differences for one in findings),
        "environment": {**env, "packages": packages},
        "bundles": [_bundle(one) for one in findings],
        "cells": [cell for one in findings for cell in _cells(one)],
    }


def _versions(names: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _bundle(findings: Findings) -> dict[str, Any]:
    matrix = findings.matrix
    entropy = matrix.bundle.manifest.entropy
    return {
        "bundle": findings.name,
        "mode": entropy.mode,
        "context": findings.context,
        "identity": entropy.identity,
        "symbols": matrix.symbols,
        "differences": matrix.differences,
        "index_differences": matrix.indices,
        "mean_differences": matrix.means,
        "cells": len(matrix.cells),
        "equal_cells": sum(cell.status == "equal" for cell in matrix.cells),
        "distinct_streams": matrix.distinct,
        "decodings": matrix.decodings,
        "broken_decodings": matrix.broken,
        "noticed_decodings": matrix.noticed,
        "seconds": matrix.seconds,
        "photos_from": findings.photos_from,
        "items": [
            {
                "photo": item.piece.photo,
                "rate": item.piece.rate,
                "height": item.size.height,
                "width": item.size.width,
                "symbols": item.symbols,
            }
            for item in matrix.items
        ],
        "configurations": [_taking(one, matrix) for one in matrix.taking],
        "absent": [asdict(absent) for absent in matrix.absent],
        "builds": [asdict(build) for build in findings.builds],
    }


def _taking(taking: Taking, matrix: Matrix) -> dict[str, Any]:
    return {
        "name": taking.name,
        "provider": taking.opened.provider,
        "encoded": taking.encoded,
        "decoded": taking.decoded,
        "symbols_per_second": speed(taking),
        "largest_item": taking.configuration.largest_item,
        "differences_as_encoder": _sum(matrix, encoder=taking.name),
        "differences_as_decoder": _sum(matrix, decoder=taking.name),
    }


def speed(taking: Taking) -> float | None:
    """Symbols a second in the entropy graphs: the median of all decodings. None where there was none."""
    return statistics.median(taking.speeds) if taking.speeds else None


def _sum(matrix: Matrix, *, encoder: str | None = None, decoder: str | None = None) -> int:
    return sum(
        cell.differences for cell in matrix.cells if encoder in (None, cell.encoder) and decoder in (None, cell.decoder)
    )


def _cells(findings: Findings) -> list[dict[str, Any]]:
    providers = {one.name: one.opened.provider for one in findings.matrix.taking}
    cells = [
        {
            "bundle": findings.name,
            **asdict(cell),
            "encoder_provider": providers[cell.encoder],
            "decoder_provider": providers[cell.decoder],
            "status": cell.status,
        }
        for cell in findings.matrix.cells
    ]
    built = [
        {
            "bundle": findings.name,
            "encoder": build.name,
            "decoder": build.name,
            "symbols": 0,
            "differences": 0,
            "encoder_provider": build.provider,
            "decoder_provider": build.provider,
            "status": BUILT,
        }
        for build in findings.builds
        if build.graphs and not build.problem
    ]
    return cells + built


def first_difference(matrix: Matrix) -> str:
    """The first cell that differs and where, a clause; empty where none does."""
    for cell in matrix.cells:
        if cell.first is not None:
            return cell_words(cell)
    return ""


def cell_words(cell: Cell) -> str:
    """Where a cell first differs."""
    if cell.first is None:
        return ""
    first, place = cell.first, cell.first.place
    layer = f", layer {first.layer.layer} of the graph {first.layer.graph}" if first.layer else ""
    return (
        f"{cell.encoder} → {cell.decoder}: {place.graph}{layer}, {place.output} of channel {place.channel}, row"
        f" {place.row}, column {place.column} is {place.got} instead of {place.expected} ({first.photo},"
        f" {first.height}×{first.width}, rate {first.rate})"
    )


def configuration_table(findings: Findings) -> Table:
    """Who took part, and how it went."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("configuration")
    table.add_column("what ran")
    for heading in ("symbols decoded", "symbols/s", "differ as encoder", "as decoder"):
        table.add_column(heading, justify="right")
    matrix = findings.matrix
    for number, one in enumerate(matrix.taking, 1):
        rate = speed(one)
        table.add_row(
            str(number),
            one.name,
            one.opened.provider,
            f"{one.decoded:,}",
            "–" if rate is None else f"{rate:,.0f}",
            str(_sum(matrix, encoder=one.name)),
            str(_sum(matrix, decoder=one.name)),
        )
    return table


def matrix_table(findings: Findings) -> Table:
    """One row an encoder, one column a decoder: 0 where all is equal, else how many symbols differ."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    matrix = findings.matrix
    table.add_column("encoder \\ decoder", justify="right")
    for number in range(1, len(matrix.taking) + 1):
        table.add_column(str(number), justify="right")
    by_pair = {(cell.encoder, cell.decoder): cell for cell in matrix.cells}
    for number, encoder in enumerate(matrix.taking, 1):
        cells = [by_pair[encoder.name, decoder.name] for decoder in matrix.taking]
        table.add_row(str(number), *(f"{cell.differences:,}" if cell.streams else "–" for cell in cells))
    return table
