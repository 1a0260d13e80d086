"""The detection head: its graph against torch at awkward sizes, and its engine, whose pyramid needed another form."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ptp_export.engines.engine_from_onnx import engine_from_onnx
from ptp_export.engines.targets import TENSORRT_RTX
from ptp_export.graphs.aspp import fold_aspp
from ptp_export.graphs.fpn import fold_pyramids
from ptp_export.graphs.head import head_graph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.sizes import Size, SizeRange
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_model.teachers import Teacher, build


@pytest.fixture(scope="module")
def detector() -> Teacher:
    torch.manual_seed(7)
    return build("efficientnet-lite0", "det")


@pytest.fixture(scope="module")
def exported(detector: Teacher) -> OnnxGraph:
    folded = build("efficientnet-lite0", "det")
    folded.load_state_dict(detector.state_dict())
    assert fold_pyramids(folded) + fold_aspp(folded) == 1
    return onnx_from_graph(head_graph(FeatureCodec(preset("tiny")), "det", folded.eval()))


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (19, 29), (33, 2)])
def test_the_exported_detector_is_the_detector(shape: tuple[int, int], detector: Teacher, exported: OnnxGraph) -> None:
    session = onnxruntime.InferenceSession(exported.data, providers=["CPUExecutionProvider"])
    h = torch.randn(1, detector.spec.feature_channels, *shape)
    found = session.run(["cls_logits", "box_deltas"], {"h": h.numpy()})
    with torch.no_grad():
        expected = detector.tail(h)
    for value, reference in zip(found, expected, strict=True):
        assert value.shape == tuple(reference.shape)
        np.testing.assert_allclose(value, reference.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_its_engine_builds(exported: OnnxGraph, tmp_path: Path) -> None:
    sizes = SizeRange(Size(1, 1), Size(300, 451), Size(512, 768))
    engine = engine_from_onnx(
        exported, TENSORRT_RTX, sizes, tmp_path, audit=None, allow_partial=False, devices=(), timeout_s=300
    )
    assert engine.profile["h"] == ((1, 24, 1, 1), (1, 24, 75, 113), (1, 24, 128, 192))
