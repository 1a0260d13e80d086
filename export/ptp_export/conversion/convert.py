"""The graphs of an export in the precision that was asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_calibration import CalibrationError, GraphMeasurement, Measurements, PhotoSet
from ptp_export.bundle.writer import BundleContent, FinishedGraph, write_bundle
from ptp_export.conversion.measure import measure
from ptp_export.conversion.photos import calibration_photos
from ptp_export.conversion.search import Product, SearchResult, search
from ptp_export.conversion.trial import Damage, TrialBench
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.oracle.checkpoint_task import CheckpointTask
from ptp_export.precision.choices import Loss, PrecisionChoices
from ptp_export.precision.cost import multiply_accumulates
from ptp_export.precision.exclusions import Exclusion
from ptp_export.precision.fp16 import fp16_from_fp32
from ptp_export.precision.int8 import Int8FromFp32, int8_from_fp32, quantisable
from ptp_export.precision.int8_exclusions import not_in_int8
from ptp_export.precision.typed_graph import TypedGraph
from ptp_export.sizes import Size
from ptp_runtime.atomic import write_bytes
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import UsageError

#: Roles that are converted.
CONVERTED_ROLES = frozenset({"analysis", "synthesis", "head"})
#: Name of what ``--best`` leaves in floats.
NOT_WORTH = "limits"


@dataclass(frozen=True)
class Found:
    """What was found before anything is converted.

    Attributes:
        measurements: of every graph to convert.
        kept: graph → its products that stay in floats, on top of the named rules; of ``--best``.
        search: of ``--best``, else None.
    """

    measurements: Measurements
    kept: Mapping[str, tuple[Exclusion, ...]]
    search: SearchResult | None = None


def measured(
    files: Sequence[OnnxGraph], task: CheckpointTask, choices: PrecisionChoices, static: Size | None
) -> Measurements:
    """Measurements of the graphs: made on the calibration photos, or read from a file.

    Raises:
        UsageError: the photos or the file cannot be used.
    """
    try:
        if choices.ranges is not None:
            found = Measurements.from_json(_read(choices.ranges))
            found.require_fits(task.digest, task.name)
            for file in files:
                if choices.int8 and choices.observer not in found.of(file.name, file.sha256).thresholds:
                    raise CalibrationError("the ranges hold no thresholds for INT8; measure again with --int8")
        else:
            photos = calibration_photos(choices.calibration)
            found = measure(files, photos, task, static, observers=choices.int8)
    except CalibrationError as error:
        raise UsageError("the graphs cannot be calibrated", got=str(error)) from error
    if choices.save_ranges is not None:
        write_bytes(choices.save_ranges, found.to_json())
    return found


def convert(file: OnnxGraph, found: Found, choices: PrecisionChoices, *, allow_partial: bool) -> FinishedGraph:
    """One graph, in the precision that was asked for.

    Raises:
        PrecisionNotMetError: it was not reached.
    """
    measurement = found.measurements.of(file.name, file.sha256)
    if not choices.int8:
        converted, audit = fp16_from_fp32(file, measurement.ranges, allow_partial=allow_partial)
        return FinishedGraph(converted, audit, ())
    converted, audit = int8_from_fp32(
        file,
        measurement.ranges,
        measurement.thresholds[choices.observer],
        (*not_in_int8(TypedGraph(file.model)), *found.kept.get(file.name, ())),
        half=choices.fp16,
        least_share=0.0 if choices.best is not None else 0.5,
        allow_partial=allow_partial,
    )
    return FinishedGraph(converted, audit, ())


def searched(
    files: Sequence[OnnxGraph],
    content: BundleContent,
    measurements: Measurements,
    choices: PrecisionChoices,
    loss: Loss,
    told: Callable[[float, str], None],
) -> Found:
    """What ``--best`` leaves in floats.

    Args:
        files: the graphs to convert, in FP32.
        content: a whole bundle in FP32, for the codec that is weighed.
        measurements: of the files.
        choices: with the photos.
        loss: that is allowed.
        told: the share that is done, and what is being done.
    """
    photos = calibration_photos(choices.calibration)
    graphs = [_Quantised(file, measurements.of(file.name, file.sha256), choices.observer) for file in files]
    costs = {(graph.file.name, node): cost for graph in graphs for node, cost in graph.costs.items()}
    with tempfile.TemporaryDirectory(prefix="ptp-best-") as folder:
        write_bundle(content, Path(folder) / "bundle", overwrite=False)
        bench = TrialBench(Bundle.open(Path(folder) / "bundle"), content.task.chain.teacher, photos, _rates(content))

        def weigh(products: Sequence[Product]) -> Damage:
            chosen = {graph.file.name: [node for name, node in products if name == graph.file.name] for graph in graphs}
            return bench.damage({g.file.name: g.with_int8(chosen[g.file.name]) for g in graphs if chosen[g.file.name]})

        result = search(costs, weigh, loss, told)
    return Found(measurements, _left(result, loss), result)


def calibration_audit(found: Found | None, photos: PhotoSet) -> dict[str, Any]:
    """Which photos tuned a bundle, and what a search found, as JSON values."""
    if found is None:
        named = [(photo.name, photo.sha256) for photo in photos.photos]
        provenance, digest = photos.provenance, photos.digest
    else:
        named = list(found.measurements.photos)
        provenance, digest = found.measurements.provenance, found.measurements.photos_sha256
    audit = {
        "provenance": provenance,
        "sha256": digest,
        "photos": [{"name": name, "sha256": sha256} for name, sha256 in named],
    }
    return audit if found is None or found.search is None else audit | {"best": search_audit(found.search)}


def search_audit(result: SearchResult) -> dict[str, Any]:
    """A search as JSON values: limits, what was reached, and each product's damage alone."""
    return {
        "limits": {"bits": result.limits.bits, "metric": result.limits.metric},
        "chosen": len(result.chosen),
        "damage": _values(result.damage),
        "lists": {str(length): _values(damage) for length, damage in sorted(result.lists.items())},
        "alone": [
            {"graph": item.product[0], "node": item.product[1], "multiply_accumulates": item.cost}
            | _values(item.damage)
            | {"int8": item.product in result.chosen}
            for item in result.weighed
        ],
    }


class _Quantised:
    """A graph, any of whose products can be put into INT8."""

    def __init__(self, file: OnnxGraph, measurement: GraphMeasurement, observer: str) -> None:
        self.file = file
        self._thresholds = measurement.thresholds[observer]
        typed = TypedGraph(file.model)
        kept = {name for exclusion in not_in_int8(typed) for name in exclusion.nodes}
        possible = quantisable(typed) - kept
        self.costs = {
            node.name: multiply_accumulates(node, typed, measurement.ranges)
            for node in file.model.graph.node
            if node.name in possible
        }

    def with_int8(self, nodes: Sequence[str]) -> bytes:
        """The ONNX file with these products in INT8."""
        data: bytes = Int8FromFp32(nodes, self._thresholds)(self.file.model).SerializeToString()
        return data


def _left(result: SearchResult, loss: Loss) -> dict[str, tuple[Exclusion, ...]]:
    """By graph: the products that were weighed and not chosen."""
    left: dict[str, set[str]] = {}
    for item in result.weighed:
        if item.product not in result.chosen:
            left.setdefault(item.product[0], set()).add(item.product[1])
    reason = f"in INT8, too, more than {loss.bits:.2%} of the bits or {loss.metric:g} points of the task would be lost"
    return {graph: (Exclusion(NOT_WORTH, reason, frozenset(nodes)),) for graph, nodes in left.items()}


def _rates(content: BundleContent) -> list[int]:
    """The default rate, and the two ends where there are several."""
    spec = content.task.chain.codec.spec
    middle = spec.usual_rate if content.default_rate is None else content.default_rate
    return sorted({0, middle, spec.rates - 1})


def _values(damage: Damage) -> dict[str, float]:
    return {"bits": round(damage.bits, 6), "metric": round(damage.metric, 4), "answer": round(damage.answer, 6)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path.name} cannot be read ({error.strerror})") from error
