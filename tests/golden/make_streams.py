"""How the golden streams were made. Their bytes are committed and never change; this is no part of any test.

    python tests/golden/make_streams.py FOLDER [NAME ...]

Pocket codecs with random weights: ``checkerboard`` with the hyper-prompts of a task, ``zigzag`` without, and ``split``,
whose layers are sums of several rounded convolutions, as layers of large models are. Their networks are scaled so that
symbols, means and indices use their whole range. Each is exported as any model is (integer entropy path, calibrated on
the shipped photographs) and codes pieces of photographs that it was not calibrated on, and latents full of extremes.
What the streams hold is written down by the numpy oracle: index and mean of every step are the ones that its
whole-number arithmetic gives.

The first two were made before layers could be split: today's conversion gives other graphs. A golden stream that a
later version cannot decode is a defect of that version. New streams (of a new version of the format, say) are added
beside the old ones, under another name.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import torch
from torch import nn

from ptp_calibration.integer_path.conversion import noise
from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_export.bundle.writer import BundleContent, FinishedGraph, write_bundle
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.integer_export import integer_export
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.interop.configurations.configuration import EntropyFiles
from ptp_export.interop.configurations.oracle_paths import open_oracle
from ptp_export.interop.latents import Analysis, LatentItem, Piece
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.options import WHOLE_RANGE
from ptp_export.oracle.checkpoint_task import CheckpointTask
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.oracle.reference import ReferenceChain
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import AttentionSpec, CheckerboardSpec, LrcpSpec, ModelSpec, ZigzagSpec, preset
from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.bundle import Bundle
from ptp_runtime.encoder import encode_latents
from ptp_runtime.entropy_path import EntropyPath
from ptp_runtime.images import load_image
from ptp_runtime.latents import Latents
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.stream_rules import StreamRules
from ptp_runtime.tables import Tables

#: Photograph, top, left, height, width, rate.
PIECES = (
    ("cat.jpg", 60, 120, 128, 192, 0),
    ("cat.jpg", 0, 0, 161, 97, 2),
    ("coffee.jpg", 200, 260, 64, 64, 1),
)


#: Name, context, with hyper-prompts, noise of a layer's weights from which it gets a second accumulator.
SETS = (
    ("checkerboard", "checkerboard", True, noise._TOLERATED),
    ("zigzag", "zigzag", False, noise._TOLERATED),
    ("split", "checkerboard", False, 1e-3),
)


def main(folder: Path, wanted: Sequence[str]) -> None:
    for name, context, prompted, tolerated in SETS:
        if not wanted or name in wanted:
            (folder / name).mkdir(parents=True)
            chain = pocket_chain(context, prompted)
            with mock.patch.object(noise, "_TOLERATED", tolerated):
                bundle = exported(chain, folder / name / "bundle")
            write_streams(bundle, folder / name)


def pocket_spec(context: str) -> ModelSpec:
    tiny = preset("tiny", context=context, rates=3)
    attention = AttentionSpec(heads=2, window=4, shift=2)
    return replace(
        tiny,
        N=8,
        early_width=8,
        M=12,
        Z=8,
        hyper_analysis=((12, 1), (12, 2), (8, 1), (8, 2)),
        hyper_synthesis=(8, 8, 12, 12),
        deep_attention=attention,
        analysis_attention=attention,
        synthesis_attention=attention,
        extractor=(8, 8),
        prompt_width=8,
        swin=replace(tiny.swin, widths=(12, 24, 32, 12)),
        checkerboard=CheckerboardSpec(groups=(4, 8), channel_context=(12, 12), aggregation=(20, 16)),
        zigzag=ZigzagSpec(slices=2, window=4, widths=(12, 12, 8, 8)),
        lrcp=LrcpSpec(width=8, heads=2, window=4, depths=(1, 1)),
    )


def pocket_chain(context: str, prompted: bool) -> ReferenceChain:
    """Random networks whose activations keep their size from layer to layer, and latents of a few units."""
    torch.manual_seed(20)
    spec = pocket_spec(context)
    codec = FeatureCodec(spec).eval()
    prompts = TaskPrompts(spec).eval() if prompted else None
    loud = [codec.h_mu, codec.h_sigma, codec.context]
    loud += [] if prompts is None else [prompts.p_hmu, prompts.p_hsigma]
    for network in loud:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.normal_(layer.bias, std=0.3)
    photo = load_image(next(photo.path for photo in shipped_set("calibration").photos))[:256, :256]
    chain = ReferenceChain(codec, prompts, None)
    # y and z are linear in these last layers.
    _scale(codec.g_a, _spread(chain, photo, 0), 6.0)
    _scale(codec.h_a, _spread(chain, photo, 1), 3.0)
    codec.requires_grad_(False)
    return chain


def _spread(chain: ReferenceChain, photo: Any, which: int) -> float:
    return float(chain.latents(photo, chain.codec.gain(chain.codec.spec.rates - 1))[which].std())


def _scale(network: nn.Module, spread: float, wanted: float) -> None:
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight *= wanted / spread
        last.bias *= wanted / spread


def exported(chain: ReferenceChain, folder: Path) -> Bundle:
    """As ``ptp-export --task view`` does it, but with prompts where the chain has some."""
    graphs = graphs_from_model(chain.codec, "view", chain.prompts, None)
    files = {graph.name: onnx_from_graph(graph, None) for graph in graphs if graph.role != "entropy"}
    integers = integer_export(chain, calibration_latents(chain, shipped_set("calibration"), None))
    files |= {graph.name: graph for graph in integers.graphs}
    finished = [FinishedGraph(files[graph.name], None, ()) for graph in graphs]
    task = CheckpointTask("view", chain, hashlib.sha256(b"pocket codec of the golden streams").hexdigest())
    write_bundle(
        BundleContent(task, finished, tables_from_model(chain.codec), WHOLE_RANGE, {}, None, integers),
        folder,
        overwrite=False,
    )
    return Bundle.open(folder)


def write_streams(bundle: Bundle, folder: Path) -> None:
    manifest = bundle.manifest
    tables = Tables.from_bytes(bundle.read(manifest.entropy.tables))
    path = EntropyPath(manifest, open_oracle(EntropyFiles.of(bundle)).graphs, tables.scale_count)
    rules = StreamRules(manifest, Arithmetic("none", "none", "none"))
    expected = []
    for name, item in items(bundle):
        header = rules.header(item.size, item.piece.rate)
        data, latents = encode_latents(path, tables, header, item.y, item.z, Stopwatch(), keep_steps=True)
        (folder / f"{name}.ptp").write_bytes(data)
        expected.append({"stream": f"{name}.ptp", "sha256": hashlib.sha256(data).hexdigest(), **digests(latents)})
        used = np.concatenate([step.index.ravel() for step in latents.steps])
        means = np.concatenate([step.mean.ravel() for step in latents.steps])
        symbols = np.concatenate([step.symbols.ravel() for step in latents.steps])
        click.echo(
            f"{folder.name}/{name}: {len(data)} bytes, {len(np.unique(used))} indices, {len(np.unique(means))} means,"
            f" symbols {symbols.min()} … {symbols.max()}, {np.count_nonzero(symbols)} not 0"
        )
    document = {"identity": manifest.entropy.identity, "streams": expected}
    (folder / "expected.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def items(bundle: Bundle) -> list[tuple[str, LatentItem]]:
    photos = {photo.name: load_image(photo.path) for photo in shipped_set("parity").photos}
    analysis = Analysis(bundle)
    found = []
    for name, top, left, height, width, rate in PIECES:
        pixels = np.ascontiguousarray(photos[name][top : top + height, left : left + width])
        found.append((f"{Path(name).stem}-{height}x{width}-rate{rate}", analysis(Piece(name, pixels, rate))))
    analysis.close()
    # Escapes, clipped contexts and the ends of every range: a heavy tail, and single enormous values.
    generator = np.random.default_rng(7)
    whole = found[0][1]
    y = (generator.standard_cauchy(whole.y.shape) * 4).astype(np.float32)
    z = (generator.standard_cauchy(whole.z.shape) * 3).astype(np.float32)
    y[0, :, 1, 2], y[0, :, 3, 5] = 40000, -40000
    z[0, :, 0, 0], z[0, :, 0, 1] = 40000, -40000
    return [*found, ("extremes", replace(whole, y=y, z=z))]


def digests(latents: Latents) -> dict[str, Any]:
    """CRC-32 of everything that a decoder computes: little-endian, C order."""
    return {
        "z": _crc(latents.z, "<i4"),
        "y_int": _crc(latents.y_int[0], "<i4"),
        "steps": [
            {"symbols": _crc(s.symbols, "<i4"), "index": _crc(s.index, "u1"), "mean": _crc(s.mean, "<i2")}
            for s in latents.steps
        ],
    }


def _crc(values: Any, dtype: str) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(values.astype(dtype)).tobytes()):08x}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
