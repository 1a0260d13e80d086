"""Our FP16 rewrite against the other way to an FP16 graph: ``model.half()``, exported."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ptp_calibration import measure_ranges
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.oracle.graph_sample import GraphSample
from ptp_export.oracle.photo_sizes import fit_photo
from ptp_export.oracle.reference import ReferenceChain
from ptp_export.precision.fp16 import fp16_from_fp32
from ptp_export.sizes import Size
from ptp_export.verify.measure import float_error
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_runtime.images import load_image

SIZE = Size(200, 256)


@pytest.fixture(scope="module")
def analysis() -> tuple[Graph, GraphSample, GraphSample]:
    """An analysis graph (GDN and attention inside) and what it sees on two photos: to measure, and to check.

    Its weights are random: the demo's are stored in FP16, so that rounding them would show nothing.
    """
    from ptp_export.photos import photos

    torch.manual_seed(11)
    chain = ReferenceChain(FeatureCodec(preset("tiny")).eval(), None, None)
    graph = next(g for g in graphs_from_model(chain.codec, "view", None, None) if g.name == "analysis")
    samples = [
        chain.run(fit_photo(load_image(photos(group)[0].path), SIZE)).graphs["analysis"]
        for group in ("calibration", "parity")
    ]
    return graph, samples[0], samples[1]


def _worst(data: bytes, sample: GraphSample, dtype: type[np.floating]) -> float:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(["y", "z"], {name: value.astype(dtype) for name, value in sample.inputs.items()})
    errors = [float_error(v, np.asarray(sample.outputs[n])) for v, n in zip(found, ("y", "z"), strict=True)]
    return max(error.typical for error in errors)


def _half_export(graph: Graph, sample: GraphSample, path: Path) -> bytes:
    module = copy.deepcopy(graph.module).half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own internals
        torch.onnx.export(
            module,
            kwargs={name: torch.from_numpy(np.asarray(value)).half() for name, value in sample.inputs.items()},
            f=path,
            dynamo=True,
            opset_version=20,
            input_names=list(sample.inputs),
            output_names=["y", "z"],
            external_data=False,
            verbose=False,
        )
    return path.read_bytes()


def test_the_rewrite_errs_no_more_than_half_precision_must(
    analysis: tuple[Graph, GraphSample, GraphSample], tmp_path: Path
) -> None:
    graph, to_measure, to_check = analysis
    exported = onnx_from_graph(graph, SIZE)
    converted, audit = fp16_from_fp32(exported, measure_ranges(exported.model, [to_measure.inputs]))
    assert audit.share_of_arithmetic > 0.9
    ours = _worst(converted.data, to_check, np.float32)
    oracle = _worst(_half_export(graph, to_check, tmp_path / "half.onnx"), to_check, np.float16)
    plain = _worst(exported.data, to_check, np.float32)
    assert plain < 1e-5 < ours, "FP16 was really used"
    assert ours < 1.5 * oracle, f"ours {ours:.2e}, model.half() {oracle:.2e}"
