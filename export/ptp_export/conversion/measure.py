"""Every graph that is converted, measured on the calibration photos."""

from __future__ import annotations

from collections.abc import Sequence

from ptp_calibration import (
    OBSERVERS,
    GraphMeasurement,
    Measurements,
    PhotoSet,
    measure_ranges,
    observe,
    thresholds,
)
from ptp_export.bundle.task_info import declared_resize
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.oracle.checkpoint_task import CheckpointTask
from ptp_export.oracle.graph_sample import GraphSample
from ptp_export.oracle.photo_sizes import fit_photo, resized_photo
from ptp_export.precision.int8 import quantisable
from ptp_export.precision.typed_graph import TypedGraph
from ptp_export.sizes import Size


def run_photos(
    photos: PhotoSet, task: CheckpointTask, static: Size | None, names: Sequence[str]
) -> dict[str, list[GraphSample]]:
    """What each graph sees on the photos, from the model itself.

    With its float entropy path, whatever the bundle gets: so one graph alone (``--only``) is converted as in a whole
    export, and the few latents that differ move no range.
    """
    samples: dict[str, list[GraphSample]] = {name: [] for name in names}
    resize = declared_resize(task.chain.teacher)
    rates = task.chain.codec.spec.rates
    for number, photo in enumerate(photos):
        # The rates in turn, so that the ranges are those of all of them.
        run = task.chain.run(resized_photo(fit_photo(photo.image, static, resize), resize), number % rates)
        for name in names:
            samples[name].append(run.graphs[name])
    return samples


def measure(
    files: Sequence[OnnxGraph], photos: PhotoSet, task: CheckpointTask, static: Size | None, *, observers: bool
) -> Measurements:
    """Measure graphs in FP32.

    Args:
        files: the graphs.
        photos: real ones.
        task: whose graphs they are.
        static: the one photo size of a static export.
        observers: also find the thresholds that INT8 needs.

    Raises:
        CalibrationError: a photo cannot be used, or a tensor is not finite.
    """
    samples = run_photos(photos, task, static, [file.name for file in files])
    return Measurements(
        task.digest,
        task.name,
        photos.provenance,
        photos.digest,
        tuple((photo.name, photo.sha256) for photo in photos.photos),
        {file.name: _measured(file, samples[file.name], observers=observers) for file in files},
    )


def _measured(file: OnnxGraph, samples: Sequence[GraphSample], *, observers: bool) -> GraphMeasurement:
    wanted = [spec.name for spec in file.inputs]
    inputs = [{name: sample.inputs[name] for name in wanted} for sample in samples]
    found: dict[str, dict[str, float]] = {}
    if observers:
        possible = quantisable(TypedGraph(file.model))
        read = dict.fromkeys(node.input[0] for node in file.model.graph.node if node.name in possible)
        histograms = observe(file.model, list(read), inputs)
        found = {observer: thresholds(histograms, observer) for observer in OBSERVERS}
    return GraphMeasurement(file.sha256, measure_ranges(file.model, inputs), found)
