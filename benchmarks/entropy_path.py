"""The integer entropy path against the float one: bytes and task at every rate, and the time of the graphs.

    python benchmarks/entropy_path.py [--checkpoint demo] [--data FOLDER] [--limit N] [--json FILE]

Both paths code the same latents, from PyTorch's analysis, with the runtime's own coder: every difference in bytes is
the path's. Photographs are the shipped parity photographs, or the held-out ones of a folder; the path is calibrated on
others.
Times are those of ``hyper`` and all steps, one after the other as a decoder runs them, in the runtime's own sessions;
rounds alternate, the figure is the median. A few minutes on two cores.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from environment import environment

from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_export.bundle.task_info import declared_resize
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.golden import COLUMNS, ROWS
from ptp_export.entropy.integer_export import IntegerExport, integer_export
from ptp_export.entropy.rate_cost import stream_bytes
from ptp_export.evaluation.curves.bootstrap import draws
from ptp_export.evaluation.fidelity import feature_error
from ptp_export.evaluation.measures import measure_of
from ptp_export.evaluation.photo_list import gather
from ptp_export.evaluation.reference import Judge
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.oracle.checkpoint_task import CheckpointTask, load_task
from ptp_export.oracle.entropy_reference import CodedLatents, GraphEntropy
from ptp_export.oracle.photo_groups import shipped_set
from ptp_runtime.backends.onnxruntime_backend import OnnxRuntimeGraph
from ptp_runtime.entropy_path import run_graph
from ptp_runtime.manifest import GraphEntry, TensorInfo

PATHS = ("float", "integer")
#: Rows and columns of y for the times: 512 × 512 pixels.
LATENT = 32


def rates(task: CheckpointTask, exported: IntegerExport, photos: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Bytes, feature error and the task's first figure of both paths, for each rate."""
    chain = task.chain
    codec, judge = chain.codec, Judge(chain.teacher)
    measure = measure_of(task.name, judge.classes)
    integers = GraphEntropy(
        {graph.name: graph.model for graph in exported.graphs}, [step.name for step in codec.context.schedule]
    )
    chains = {"float": chain, "integer": chain.with_integers(integers)}
    tables, schedule = tables_from_model(codec), codec.context.schedule
    gains = torch.cat([codec.gain(rate) for rate in range(codec.spec.rates)]) if codec.spec.rates > 1 else None
    found = [{path: defaultdict(list) for path in PATHS} for _ in range(codec.spec.rates)]
    for number, photo in enumerate(photos, start=1):
        pixels = photo.pixels()
        coded_pixels = judge.coded(pixels)
        size, coded_size = pixels.shape[:2], coded_pixels.shape[:2]
        answer = judge.answer(coded_pixels, size)
        y, z = chain.latents(coded_pixels, gains)
        for rate, columns in enumerate(found):
            for path, run in chains.items():
                coded = run.code(y[rate : rate + 1], z[rate : rate + 1])
                h = feature(task, coded, rate, answer.h.shape[2:])
                count = stream_bytes(coded, tables, schedule, codec.spec.skip_index)
                column = columns[path]
                column["bytes"].append(count)
                column["bpp"].append(8 * count / (coded_size[0] * coded_size[1]))
                column["errors"].append(feature_error(answer.h, h))
                output = judge.answer_to(h, coded_size, size).output
                column["records"].append(measure.record(output, answer.output, None))
        print(f"{number}/{len(photos)} {photo.name}", flush=True)
    counts = draws(len(photos), 0)
    rows = []
    for rate, columns in enumerate(found):
        row: dict[str, Any] = {"rate": rate}
        for path, column in columns.items():
            row[path] = {
                "bytes": sum(column["bytes"]),
                "bpp": float(np.mean(column["bpp"])),
                "feature_error": float(np.mean(column["errors"])),
                "fidelity": vars(measure.summary(column["records"], counts)[measure.fidelity]),
            }
        shares = [b / a - 1 for a, b in zip(columns["float"]["bytes"], columns["integer"]["bytes"], strict=True)]
        row["cost"] = row["integer"]["bytes"] / row["float"]["bytes"] - 1
        row["bpp_cost"] = row["integer"]["bpp"] / row["float"]["bpp"] - 1
        row["worst_photo"] = max(shares)
        rows.append(row)
    return rows


@torch.inference_mode()
def feature(task: CheckpointTask, coded: CodedLatents, rate: int, size: tuple[int, ...]) -> np.ndarray:
    """The decoded feature, cropped to the photograph's."""
    codec = task.chain.codec
    h = codec.synthesis(coded.y_int, coded.mu_hyper, task.chain.prompts, codec.gain(rate))
    return h[:, :, : size[0], : size[1]].contiguous().numpy()


def entry(graph: OnnxGraph) -> GraphEntry:
    inputs, outputs = (
        tuple(TensorInfo(spec.name, spec.dtype, spec.dims) for spec in specs) for specs in (graph.inputs, graph.outputs)
    )
    return GraphEntry(graph.name, "entropy", f"{graph.name}.onnx", graph.sha256, "fp32", inputs, outputs)


class Graphs:
    """The graphs of one path in the runtime's sessions."""

    def __init__(self, graphs: list[OnnxGraph], threads: int) -> None:
        self._entries = [entry(graph) for graph in graphs]
        self._graphs = [
            OnnxRuntimeGraph(graph.data, item, "cpu", threads)
            for graph, item in zip(graphs, self._entries, strict=True)
        ]

    def run(self, z_hat: np.ndarray, y_int: np.ndarray) -> list[float]:
        """Milliseconds of each graph, all on the same decoded latent."""
        known: dict[str, np.ndarray] = {"z_hat": z_hat, "y_int": y_int}
        times = []
        for graph, item in zip(self._graphs, self._entries, strict=True):
            start = time.perf_counter()
            found = run_graph(graph, item, known)
            times.append(1e3 * (time.perf_counter() - start))
            known |= {name: value for name, value in found.items() if name not in ("index", "mean")}
        return times


def speed(task: CheckpointTask, exported: IntegerExport, threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each graph of both paths at 512 × 512 pixels, and of the integer path at the golden test's."""
    chain = task.chain
    traced = [
        onnx_from_graph(graph)
        for graph in graphs_from_model(chain.codec, "view", chain.prompts, None)
        if graph.role == "entropy"
    ]
    paths = {"float": Graphs(traced, threads), "integer": Graphs(list(exported.graphs), threads)}
    generator = np.random.default_rng(1)
    spec = chain.codec.spec
    z_hat = generator.integers(-3, 4, (1, spec.Z, LATENT // 4, LATENT // 4)).astype(np.float32)
    y_int = generator.integers(-60, 61, (1, spec.M, LATENT, LATENT)).astype(np.float32)
    times: dict[str, list[list[float]]] = {path: [] for path in PATHS}
    for number in range(rounds + 3):
        for path in PATHS if number % 2 else PATHS[::-1]:
            measured = paths[path].run(z_hat, y_int)
            if number >= 3:
                times[path].append(measured)
    golden = exported.golden
    small = [
        sum(paths["integer"].run(golden.z_hat[None].astype(np.float32), np.zeros((1, *golden.q.shape), np.float32)))
        for _ in range(rounds)
    ]
    medians = {path: [statistics.median(column) for column in zip(*times[path], strict=True)] for path in PATHS}
    whole = {path: statistics.median(sum(row) for row in times[path]) for path in PATHS}
    return {
        "graphs": [graph.name for graph in traced],
        "milliseconds": medians,
        "whole": whole,
        "ratio": whole["integer"] / whole["float"],
        "golden_milliseconds": statistics.median(small),
        "golden_size": [ROWS, COLUMNS],
        "golden_bytes": len(golden.to_bytes()),
    }


@click.command()
@click.option("--checkpoint", default="demo", show_default=True)
@click.option("--task", "name", type=click.Choice(["seg", "det", "cls"]), default="seg", show_default=True)
@click.option("--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--limit", type=int, help="Only so many photographs, spread evenly.")
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=41, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(
    checkpoint: str,
    name: str,
    data: tuple[Path, ...],
    limit: int | None,
    threads: int,
    rounds: int,
    output: Path | None,
) -> None:
    torch.set_num_threads(threads)
    task = load_task(checkpoint, name)
    start = time.perf_counter()
    samples = calibration_latents(task.chain, shipped_set("calibration"), declared_resize(task.chain.teacher))
    exported = integer_export(task.chain, samples)
    seconds = time.perf_counter() - start
    photos = gather(data, name, held_out=bool(data), limit=limit)
    measure = measure_of(name, Judge(task.chain.teacher).classes)
    audit = exported.audit()
    worst = sorted(audit["certificate"]["layers"], key=lambda layer: -layer["share"])
    document = {
        "environment": environment(),
        "checkpoint": checkpoint,
        "checkpoint_sha256": task.digest,
        "preset": task.chain.codec.spec.preset,
        "task": name,
        "threads": threads,
        "rounds": rounds,
        "photos": len(photos.photos),
        "photos_from": photos.source,
        "fidelity": measure.words[measure.fidelity],
        "conversion_seconds": seconds,
        "precision": audit["precision"],
        "calibration_cost": audit["calibration_cost"],
        "clipped": max(audit["clipped"].values(), default=0.0),
        "certificate": {
            "layers": len(worst),
            "limit": audit["certificate"]["limit"],
            "closest": worst[:3],
            "tf32_operands": sum(layer["tf32_operands"] for layer in worst),
            "fp16_operands": sum(layer["fp16_operands"] for layer in worst),
        },
        "speed": speed(task, exported, threads, rounds),
        "rates": rates(task, exported, photos.photos),
    }
    for row in document["rates"]:
        bpp = row["float"]["bpp"]
        print(f"rate {row['rate']}: {bpp:.4f} bpp, {row['cost']:+.3%}, worst photo {row['worst_photo']:+.2%}")
    print(f"graphs: {document['speed']['whole']}, {document['speed']['ratio']:.2f}")
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
