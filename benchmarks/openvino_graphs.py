"""The graphs of a bundle in OpenVINO, beside ONNX Runtime: how much another runtime could bring on this processor.

    python benchmarks/openvino_graphs.py BUNDLE [--json FILE]

A photograph of 768×512; the two in turn, graph by graph; medians. Needs openvino.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import openvino
from environment import environment
from graph_inputs import inputs_of_graphs

from ptp_runtime.session import Session

HEIGHT, WIDTH = 512, 768


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path, threads: int, rounds: int, output: Path | None) -> None:
    session = Session.open(bundle, backend="cpu", threads=threads)
    plain = {name: graph.run for name, graph in session.graphs.by_name.items()}
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    seen = inputs_of_graphs(session, pixels)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core, rows = openvino.Core(), {}
    for entry in session.manifest.graphs:
        compiled = core.compile_model(core.read_model(session.bundle.read(entry)), "CPU", settings)
        request, inputs = compiled.create_infer_request(), seen[entry.name]
        runs: dict[str, Callable[[], Any]] = {
            "onnxruntime": lambda inputs=inputs, run=plain[entry.name]: run(inputs),
            "openvino": lambda inputs=inputs, request=request: request.infer(inputs),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if number:  # the first round warms up
                    times[name].append(1e3 * (time.perf_counter() - start))
        rows[entry.name] = {name: round(statistics.median(values), 3) for name, values in times.items()}
        print(entry.name, rows[entry.name], flush=True)
    total = {name: round(sum(row[name] for row in rows.values()), 3) for name in ("onnxruntime", "openvino")}
    document = {
        "environment": environment("openvino"),
        "setting": {"size": [WIDTH, HEIGHT], "threads": threads, "rounds": rounds},
        "milliseconds": rows,
        "total": total,
    }
    print("all", total)
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
