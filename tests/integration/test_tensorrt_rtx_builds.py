"""Real TensorRT-RTX engines of every graph of the demo, built without a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from ptp_calibration.integer_path import LatentSample
from ptp_export.engines import worker
from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.device_here import device_here
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


def _convolution(name: str = "conv") -> OnnxGraph:
    """A graph that builds in a moment."""
    weights = np.random.default_rng(3).normal(size=(4, 4, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["h", "w"], ["logits"], name=name, pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 4, "h4", "w4"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, "h4", "w4"])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return onnx_graph(
        "head", "head", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )


def _small(folder: Path, graph: OnnxGraph | None = None, **more: Any) -> Engine:
    options = {"audit": None, "allow_partial": False, "devices": (), "timeout_s": 120.0} | more
    return engine_from_onnx(graph or _convolution(), TENSORRT_RTX, SIZES, folder, **options)  # type: ignore[arg-type]


needs_no_device = pytest.mark.skipif(bool(device_here().name), reason="this is about machines without a GPU")


@needs_no_device
def test_without_a_device_the_network_is_the_highest_proof(tmp_path: Path) -> None:
    engine = _small(tmp_path)

    assert engine.proof.level == "network"
    assert engine.proof.missing == "there is no NVIDIA device here"
    with pytest.raises(PrecisionNotMetError, match="not proved on the engine") as caught:
        _small(tmp_path, choices=BuildChoices(require_proof="engine"))
    assert "network only" in caught.value.got
    assert _small(tmp_path, choices=BuildChoices(require_proof="network")).proof.level == "network"


@needs_no_device
@pytest.mark.parametrize("choices", [BuildChoices(strip_weights=True), BuildChoices(compatible=("version",))])
def test_what_the_builder_cannot_do_here_is_a_typed_error(choices: BuildChoices, tmp_path: Path) -> None:
    with pytest.raises(StageFailedError, match="failed") as caught:
        _small(tmp_path, choices=choices)

    assert "may need a GPU" in caught.value.hint
    assert "Error Code" in caught.value.got, "the builder's own words"


def test_what_the_builder_never_does_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no hardware-compatible engines"):
        _small(tmp_path, choices=BuildChoices(compatible=("hardware",)))
    with pytest.raises(StageFailedError, match=r"no compute capability 9\.0; it knows SM120"):
        _small(tmp_path, devices=("9.0",))


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    choices = BuildChoices(cache=tmp_path / "cache")
    first, second = (_small(tmp_path, choices=choices) for _ in range(2))

    assert (first.cached, second.cached) == (False, True)
    assert replace(second, cached=False) == first
    assert not _small(tmp_path, devices=("8.9",), choices=choices).cached, "another device is another engine"
    assert not _small(tmp_path, _convolution("other"), choices=choices).cached


def test_a_damaged_engine_is_forgotten_and_built_again(tmp_path: Path) -> None:
    choices = BuildChoices(cache=tmp_path / "cache")
    _small(tmp_path, choices=choices)
    (plan,) = (tmp_path / "cache").rglob("engine.plan")
    plan.write_bytes(plan.read_bytes()[:-1])

    assert not _small(tmp_path, choices=choices).cached
    assert _small(tmp_path, choices=choices).cached


def test_a_build_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    _small(tmp_path, told=lambda share, phase: told.append((share, phase)))

    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert told[-1][1] == "Building engine"


def test_a_cancelled_build_leaves_its_log_and_nothing_else(tmp_path: Path) -> None:
    """Ctrl-C reaches this process and not the worker, which is in a session of its own."""

    def interrupt(share: float, phase: str) -> None:
        signal.raise_signal(signal.SIGINT)

    # A shell starts what runs in its background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _small(tmp_path, told=interrupt, choices=BuildChoices(cache=tmp_path / "cache"))
    finally:
        signal.signal(signal.SIGINT, before)

    assert [path.name for path in tmp_path.iterdir()] == ["head.tensorrt-rtx.log"]


def test_a_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Killed, a parent has no time to end anybody: the worker notices that its standard input is shut."""
    request = tmp_path / "request.json"
    os.mkfifo(request)  # the worker waits for a request that never comes
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, worker.__file__, str(request), "--attached", str(writing)],
        stdin=subprocess.PIPE,
        pass_fds=(writing,),
    )
    os.close(writing)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 3
    os.close(reading)


def _quantised(*, activations: bool) -> OnnxGraph:
    """A convolution with explicit quantisation of its weights and, maybe, of what it reads."""
    weights = np.random.default_rng(3).integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
    numbers = {
        "w": weights,
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
        "s": np.float32(0.02),
        "z": np.int8(0),
    }
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], name="dw", axis=0)]
    if activations:
        nodes += [
            helper.make_node("QuantizeLinear", ["h", "s", "z"], ["q"], name="q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"], name="d"),
        ]
    nodes.append(
        helper.make_node("Conv", ["x" if activations else "h", "wf"], ["logits"], name="conv", pads=[1, 1, 1, 1])
    )
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 4, "h4", "w4"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, "h4", "w4"])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx_graph("head", "head", model)


@pytest.mark.parametrize(("activations", "got"), [(True, "int8"), (False, "weight-only")])
def test_the_network_tells_integers_from_mere_storage(activations: bool, got: str, tmp_path: Path) -> None:
    asked = PrecisionAudit((LayerPrecision("conv", "Conv", "int8", "int8", "", 1),), {})
    engine = _small(tmp_path, _quantised(activations=activations), audit=asked, allow_partial=True)

    assert engine.audit is not None
    assert [layer.got for layer in engine.audit.layers] == [got]
    assert engine.proof.asked == ({"int8": {"conv": 1.0}} if activations else {})
