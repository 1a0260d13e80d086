"""Real TensorRT-RTX engines of every graph of the demo, built without a GPU."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from ptp_calibration.integer_path import LatentSample
from ptp_export.engines.engine_from_onnx import Engine, engine_from_onnx
from ptp_export.engines.targets import TENSORRT_RTX, Target, engine_target
from ptp_export.entropy.golden import covering_golden
from ptp_export.entropy.integer_export import integer_export
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.oracle.reference import ReferenceChain
from ptp_export.precision.audit import LayerPrecision, PrecisionAudit
from ptp_export.precision.typed_graph import TypedGraph
from ptp_export.sizes import Size, SizeRange
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import MissingExtraError, PrecisionNotMetError, StageFailedError, UsageError
from ptp_runtime.manifest import GraphEntry

SIZES = SizeRange(Size(1, 1), Size(300, 451), Size(512, 768))
GRAPHS = ["analysis", "hyper", *(f"step_{k:02d}" for k in range(8)), "synthesis", "head"]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed: make test installs it"
)


def _read(bundle: Bundle, entry: GraphEntry) -> OnnxGraph:
    return onnx_graph(entry.name, entry.role, onnx.load_from_string(bundle.read(entry)))  # type: ignore[arg-type]


def _asked_for_what_it_is(graph: OnnxGraph) -> PrecisionAudit:
    """An audit that asks of an engine what the converted file itself computes in."""
    typed = TypedGraph(graph.model)
    layers = []
    for node in graph.model.graph.node:
        if typed.is_layer(node):
            kind = typed.computes_in(node)
            layers.append(LayerPrecision(node.name, node.op_type, kind, kind, "", 1))
    return PrecisionAudit(tuple(layers), {})


def _build(graph: OnnxGraph, folder: Path, audit: PrecisionAudit | None, timeout_s: float = 300.0) -> Engine:
    return engine_from_onnx(
        graph, TENSORRT_RTX, SIZES, folder, audit=audit, allow_partial=False, devices=(), timeout_s=timeout_s
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_of_the_demo_builds(name: str, demo_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(demo_bundle)
    entry = bundle.manifest.graph(name)
    graph = _read(bundle, entry)
    audit = _asked_for_what_it_is(graph) if entry.precision == "fp16" else None
    engine = _build(graph, tmp_path, audit)
    assert len(engine.data) > 100_000
    assert engine.version == TENSORRT_RTX.version()
    assert set(engine.profile) == {spec.name for spec in graph.inputs}
    for smallest, typical, largest in engine.profile.values():
        assert all(a <= b <= c for a, b, c in zip(smallest, typical, largest, strict=True))
    assert engine.smoke.known_format
    assert engine.smoke.version == engine.version
    assert (engine.smoke.tensors["half"] > 0) == (entry.precision == "fp16")
    if engine.audit is not None:
        assert engine.audit.shortfall == ()
        # The analysis begins with the teacher's stem, which stays in FP32 by name; beside it the engines are alike.
        in_fp32 = bundle.manifest.audit["graphs"][name]["precision"]["layers_in_fp32"]
        stem = {layer["node"] for layer in in_fp32 if layer["exclusion"] == "stem"}
        layers = [layer for layer in engine.audit.layers if layer.node not in stem]
        assert (len(layers) < len(engine.audit.layers)) == (name == "analysis")
        assert replace(engine.audit, layers=tuple(layers)).share_of_convolutions > 0.9
    assert engine.log.is_file()
    assert not list(tmp_path.glob("*.plan")), "the plan is in the bundle, not in the logs"


@pytest.mark.parametrize("name", ["hyper", "step_05"])
def test_integer_graphs_of_the_zigzag_context_build(name: str, tmp_path: Path) -> None:
    """They split a latent of free size into quadrants, which the checkerboard's graphs do not."""
    torch.manual_seed(3)
    codec = FeatureCodec(preset("tiny", context="zigzag")).eval()
    generator = np.random.default_rng(3)
    z = generator.integers(-3, 4, (codec.spec.Z, 2, 3)).astype(np.int32)
    y = generator.normal(0, 4, (codec.spec.M, 8, 12)).astype(np.float32)
    exported = integer_export(ReferenceChain(codec, None, None), [LatentSample(z, y)])
    (graph,) = [graph for graph in exported.graphs if graph.name == name]
    engine = engine_from_onnx(
        graph,
        TENSORRT_RTX,
        covering_golden(SizeRange.static(Size(300, 451))),
        tmp_path,
        audit=None,
        allow_partial=False,
        devices=(),
        timeout_s=300.0,
    )
    assert engine.smoke.known_format
    for smallest, _, largest in engine.profile.values():
        assert smallest[2] < largest[2], "the golden test is another size"


def test_all_graphs_of_the_bundle_are_tried(demo_bundle: Path) -> None:
    assert [graph.name for graph in Bundle.open(demo_bundle).manifest.graphs] == GRAPHS


def test_an_engine_in_fp32_does_not_pass_for_fp16(demo_bundle: Path, tmp_path: Path) -> None:
    """The public case: an FP32 engine under an FP16 label. The network's own layers tell."""
    bundle = Bundle.open(demo_bundle)
    graph = _read(bundle, bundle.manifest.graph("step_00"))
    honest = _asked_for_what_it_is(graph)
    wishful = PrecisionAudit(
        tuple(LayerPrecision(item.node, item.operator, "fp16", "fp16", "", 1) for item in honest.layers), {}
    )
    with pytest.raises(PrecisionNotMetError, match="not reached"):
        _build(graph, tmp_path, wishful)


def test_an_fp16_network_does_not_pass_for_fp32(demo_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(demo_bundle)
    with pytest.raises(PrecisionNotMetError, match="not in FP32"):
        _build(_read(bundle, bundle.manifest.graph("synthesis")), tmp_path, None)


def _positions_of_nonzero() -> OnnxGraph:
    """Parses, and does not build."""
    nodes = [
        helper.make_node("NonZero", ["z_hat"], ["positions"], name="nonzero"),
        helper.make_node("Cast", ["positions"], ["y"], name="cast", to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z_hat", TensorProto.FLOAT, [1, 4, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, "n"])],
    )
    return onnx_graph(
        "hyper", "entropy", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )


def test_a_failing_build_leaves_its_log_and_a_command_that_fails_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(StageFailedError, match="engine of 'hyper' failed") as caught:
        _build(_positions_of_nonzero(), tmp_path, None)
    log = tmp_path / "hyper.tensorrt-rtx.log"
    assert str(log) in caught.value.hint
    assert log.stat().st_size > 0
    command = shlex.split(caught.value.hint.split("repeat it with: ")[1])
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 1
    assert "error" in json.loads((tmp_path / "hyper.tensorrt-rtx.report.json").read_text())


def test_a_build_that_takes_too_long_is_ended(demo_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(demo_bundle)
    with pytest.raises(StageFailedError, match=r"no result after 0\.05 s"):
        _build(_read(bundle, bundle.manifest.graph("hyper")), tmp_path, None, timeout_s=0.05)
    assert not list(tmp_path.glob("*.plan"))


def test_unknown_and_missing_builders() -> None:
    with pytest.raises(UsageError, match="unknown target"):
        engine_target("openvino")
    absent = Target("tensorrt-rtx", "no_such_module_here", "tensorrt-rtx", "pip install it", (1,))
    with pytest.raises(MissingExtraError, match="pip install it"):
        absent.version()
    too_old = Target("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx", "pip install it", (99, 0))
    with pytest.raises(MissingExtraError, match="too old"):
        too_old.version()
