"""Every graph of a bundle: ONNX size, engine size and build time, share of FP16, worst error against PyTorch.

    python benchmarks/graphs.py BUNDLE [--json FILE]

The bundle must have been exported with ``--target tensorrt-rtx``. Errors come from ``ptp verify`` on the shipped parity
photographs, run by ONNX Runtime on the CPU: no engine runs without a GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
from environment import environment

from ptp_runtime.bundle import Bundle


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path, output: Path | None) -> None:
    manifest = Bundle.open(bundle).manifest
    verified = subprocess.run(
        [Path(sys.executable).with_name("ptp"), "verify", bundle, "--json"], capture_output=True, text=True, check=False
    )
    if verified.returncode:
        raise SystemExit(verified.stderr)
    errors = {graph["name"]: graph for graph in json.loads(verified.stdout)["graphs"]}
    audit = manifest.audit
    rows = []
    for graph in manifest.graphs:
        built = [entry for entry in manifest.engines if entry.graph == graph.name]
        if not built:
            raise SystemExit(f"{graph.name} has no engine: export with --target tensorrt-rtx")
        built_audit = audit["engines"][built[0].file]
        precision = audit["graphs"][graph.name].get("precision")
        rows.append(
            {
                "graph": graph.name,
                "role": graph.role,
                "precision": graph.precision,
                "onnx_bytes": audit["graphs"][graph.name]["onnx_bytes"],
                "engine_bytes": built_audit["bytes"],
                "build_seconds": built_audit["build_seconds"],
                "fp16": precision,
                "worst_error": errors[graph.name]["worst"],
                "typical_error": errors[graph.name]["typical"],
            }
        )
        print(json.dumps(rows[-1]))
    if output:
        output.write_text(json.dumps({"environment": environment(), "graphs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
