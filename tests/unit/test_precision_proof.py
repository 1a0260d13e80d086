"""Three levels of proof: what each shows, what a shortfall does, and what is left to the first load."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ptp_export.engines.file_audit import audit_of_file, products_of
from ptp_export.engines.network_audit import precision_by_node
from ptp_export.engines.proof import asked_of, precision_shares, proof_of_engine, require_level
from ptp_export.engines.proof_lines import proof_lines
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.precision.audit import LayerPrecision, PrecisionAudit
from ptp_runtime.errors import PrecisionNotMetError


def audit(*layers: tuple[str, str, str, int]) -> PrecisionAudit:
    """Of layers as name, asked, got and multiply-accumulates."""
    return PrecisionAudit(
        tuple(LayerPrecision(name, "Conv", asked, got, "", count) for name, asked, got, count in layers), {}
    )


GOOD = audit(("a", "fp16", "fp16", 60), ("b", "fp16", "fp16", 30), ("n", "fp32", "fp32", 10))
SHORT = audit(("a", "fp16", "fp16", 60), ("b", "fp16", "fp32", 30), ("n", "fp32", "fp32", 10))


def inspected(**types: str) -> dict[str, Any]:
    """A worker's report with the inspection of an engine of these nodes."""
    layers = [
        {
            "Inputs": [{"Format/Datatype": kind}],
            "Outputs": [{"Format/Datatype": kind}],
            "Metadata": f"[ONNX Layer: {node}]",
        }
        for node, kind in types.items()
    ]
    return {"inspection": json.dumps({"Layers": layers})}


def test_without_an_inspection_the_network_is_the_highest_level() -> None:
    proof = proof_of_engine("head", GOOD, GOOD, {"not_inspected": "no device"}, allow_partial=False)

    assert (proof.level, proof.missing) == ("network", "no device")
    assert proof.asked == {"fp16": {"a": 0.6, "b": 0.3}, "fp32": {"n": 0.1}}
    assert proof.shares == {"graph": {"fp16": 0.9, "fp32": 0.1}, "network": {"fp16": 0.9, "fp32": 0.1}}


def test_an_inspected_engine_reaches_the_highest_level() -> None:
    report = inspected(a="Half", b="Half", n="Float")
    proof = proof_of_engine("head", GOOD, GOOD, report, allow_partial=False)

    assert (proof.level, proof.missing) == ("engine", "")
    assert proof.shares["engine"] == {"fp16": 0.9, "fp32": 0.1}
    assert json.loads(json.dumps(proof.to_dict()))["level"] == "engine"


def test_an_engine_that_shows_little_stays_at_the_network() -> None:
    proof = proof_of_engine("head", GOOD, GOOD, inspected(b="Half"), allow_partial=False)

    assert proof.level == "network"
    assert "its inspector shows the precision of 30%" in proof.missing


def test_an_engine_that_falls_short_is_an_error_unless_accepted() -> None:
    report = inspected(a="Float", b="Half", n="Float")
    with pytest.raises(PrecisionNotMetError, match="does not compute in what its network asks for"):
        proof_of_engine("head", GOOD, GOOD, report, allow_partial=False)
    accepted = proof_of_engine("head", GOOD, GOOD, report, allow_partial=True)

    assert accepted.asked == {"fp16": {"b": 0.3}, "fp32": {"n": 0.1}}, "what was accepted is never refused later"


def test_an_accepted_network_is_asked_for_what_it_does() -> None:
    assert asked_of(SHORT, accept=True) == {"fp16": {"a": 0.6}, "fp32": {"b": 0.3, "n": 0.1}}
    assert asked_of(SHORT, accept=False) == {"fp16": {"a": 0.6, "b": 0.3}, "fp32": {"n": 0.1}}
    assert precision_shares(SHORT) == {"fp16": 0.6, "fp32": 0.4}
    assert precision_shares(audit(("a", "fp16", "fp16", 0), ("b", "fp32", "fp32", 0))) == {"fp16": 0.5, "fp32": 0.5}


def test_integers_that_are_only_stored_are_not_computed_in() -> None:
    weights = audit(("a", "int8", "weight-only", 1))

    assert asked_of(weights, accept=True) == {}
    assert precision_shares(weights) == {"weight-only": 1.0}


@pytest.mark.parametrize(("wanted", "fails"), [("", False), ("graph", False), ("network", False), ("engine", True)])
def test_a_level_can_be_demanded(wanted: str, fails: bool) -> None:
    proof = proof_of_engine("head", GOOD, GOOD, {}, allow_partial=False)
    if not fails:
        return require_level("head", proof, wanted)
    with pytest.raises(PrecisionNotMetError, match="'head' is not proved on the engine"):
        require_level("head", proof, wanted)
    return None


def test_people_are_told_once_for_each_reason() -> None:
    class Graph:
        def __init__(self, name: str, report: dict[str, Any]) -> None:
            self.name = name
            proof = proof_of_engine(name, GOOD, GOOD, report, allow_partial=False)
            self.engines = [type("Engine", (), {"proof": proof})()]

    absent = {"not_inspected": "there is no device."}
    full = Graph("head", inspected(a="Half", b="Half", n="Float"))
    lines = proof_lines([full, *(Graph(f"step_{n}", absent) for n in range(5))])

    assert lines == [
        "Precision of 1 of 6 engines: proved on the engine.",
        "Precision of 5 of 6 engines: proved on the network.",
        "Not proved on the engine: step_0, step_1, step_2 and 2 more (there is no device)."
        " The first load on a GPU proves it, or refuses.",
    ]
    assert proof_lines([]) == []


def graph(kind: int, *, quantised: bool = False) -> OnnxGraph:
    """A convolution of 3 × 3 from 4 to 8 channels, and a Relu."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = onnx.numpy_helper.from_array(np.ones((8, 4, 3, 3), dtype), "w")
    initializers, nodes, source, kernel = [weights], [], "h", "w"
    if quantised:
        initializers += [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in (("s", np.float32(0.1)), ("z", np.int8(0)))
        ]
        for tensor in ("h", "w"):
            nodes += [
                helper.make_node("QuantizeLinear", [tensor, "s", "z"], [f"{tensor}q"], name=f"{tensor}q"),
                helper.make_node("DequantizeLinear", [f"{tensor}q", "s", "z"], [f"{tensor}d"], name=f"{tensor}d"),
            ]
        source, kernel = "hd", "wd"
    nodes += [
        helper.make_node("Conv", [source, kernel], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["logits"], name="relu"),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("h", kind, [1, 4, "h4", "w4"])],
        [helper.make_tensor_value_info("logits", kind, [1, 8, "h4", "w4"])],
        initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx_graph("head", "head", model)


@pytest.mark.parametrize(
    ("kind", "quantised", "precision"),
    [(TensorProto.FLOAT, False, "fp32"), (TensorProto.FLOAT16, False, "fp16"), (TensorProto.FLOAT, True, "int8")],
)
def test_a_file_says_what_it_asks_for(kind: int, quantised: bool, precision: str) -> None:
    found = audit_of_file(graph(kind, quantised=quantised), {"h": (1, 4, 10, 20)})

    assert {layer.node: layer.asked for layer in found.layers}["conv"] == precision
    assert {layer.node: layer.multiply_accumulates for layer in found.layers} == {"conv": 8 * 4 * 9 * 200, "relu": 0}
    assert [layer.node for layer in products_of(found).layers] == ["conv"]
    assert found.shortfall == ()


def test_layers_behind_a_computed_padding_are_weighed_too() -> None:
    """Inference from the file stops there, and a head of boxes pads so that its sides can be halved."""
    kernel = onnx.numpy_helper.from_array(np.ones((8, 4, 3, 3), np.float32), "w")
    half = onnx.numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0], np.int64), "front")
    nodes = [
        helper.make_node("Shape", ["h"], ["sides"], name="sides", start=2, end=4),
        helper.make_node("Mod", ["sides", "two"], ["rest"], name="rest"),
        helper.make_node("Concat", ["front", "rest"], ["pads"], name="pads", axis=0),
        helper.make_node("Pad", ["h", "pads"], ["padded"], name="pad"),
        helper.make_node("Conv", ["padded", "w"], ["logits"], name="conv", pads=[1, 1, 1, 1]),
    ]
    two = onnx.numpy_helper.from_array(np.array([2, 2], np.int64), "two")
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 4, "h4", "w4"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 8, "y", "x"])],
        [kernel, half, two],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    found = audit_of_file(onnx_graph("head", "head", model), {"h": (1, 4, 9, 15)})

    assert {layer.node: layer.multiply_accumulates for layer in found.layers}["conv"] == 8 * 4 * 9 * 10 * 16


def test_the_longest_layer_of_a_node_decides_and_integers_are_told_by_what_is_read() -> None:
    def layer(kind: str, node: str, outputs: list[str], reads: list[str], writes: str) -> dict[str, Any]:
        metadata = f"[ONNX Layer: {node}]"
        return {"type": kind, "metadata": metadata, "outputs": outputs, "reads": reads, "writes": [writes]}

    layers = [
        layer("DEQUANTIZE", "dx", ["HALF"], ["q"], "x"),
        layer("DEQUANTIZE", "dw", ["HALF"], ["r"], "w"),
        layer("SHUFFLE", "turn", ["HALF"], ["w"], "wt"),
        layer("CONVOLUTION", "integers", ["HALF"], ["x", "wt"], "a"),
        layer("ELEMENTWISE", "integers", ["FLOAT"], ["a", "bias"], "b"),
        layer("CONVOLUTION", "stored", ["HALF"], ["b", "w"], "c"),
        layer("CONVOLUTION", "half", ["HALF"], ["c", "plain"], "d"),
        layer("MATRIX_MULTIPLY", "mixed", ["HALF"], ["x", "d"], "e"),
        layer("CAST", "cast", ["FLOAT"], ["e"], "f"),
    ]

    assert precision_by_node(layers) == {
        "integers": "int8", "stored": "weight-only", "half": "fp16", "mixed": "fp16"
    }  # fmt: skip
