"""The audit of a conversion: shares, shortfalls with and without a name, and what a builder's network says."""

from __future__ import annotations

import json

import pytest

from ptp_export.engines.network_audit import precision_by_node, require_exact, require_fp32
from ptp_export.precision.audit import LayerPrecision, PrecisionAudit
from ptp_runtime.errors import PrecisionNotMetError


def _layer(node: str, operator: str, asked: str, got: str, exclusion: str, macs: int) -> LayerPrecision:
    return LayerPrecision(node, operator, asked, got, exclusion, macs)


GOOD = PrecisionAudit(
    (
        _layer("a", "Conv", "fp16", "fp16", "", 700),
        _layer("b", "Conv", "fp32", "fp32", "gdn", 100),
        _layer("c", "MatMul", "fp16", "fp16", "", 200),
        _layer("d", "Softmax", "fp32", "fp32", "softmax", 0),
    ),
    {"gdn": "squares", "softmax": "exponentials"},
)


def test_shares_count_layers_convolutions_and_arithmetic() -> None:
    assert GOOD.share_of_layers == 0.5
    assert GOOD.share_of_convolutions == 0.5
    assert GOOD.share_of_arithmetic == 0.9
    GOOD.require_met("g", allow_partial=False)


def test_a_layer_without_a_named_reason_fails() -> None:
    short = GOOD.with_engine({"c": "fp32"})
    assert [layer.node for layer in short.shortfall] == ["c"]
    with pytest.raises(PrecisionNotMetError, match="MatMul c"):
        short.require_met("g", allow_partial=False)
    short.require_met("g", allow_partial=True)


def test_a_network_owes_what_its_graph_says_however_little_that_is() -> None:
    little = PrecisionAudit(
        (_layer("a", "Conv", "int8", "int8", "", 10), _layer("b", "Conv", "fp32", "fp32", "", 90)), {}
    )
    with pytest.raises(PrecisionNotMetError, match="too little"):
        little.require_met("g", allow_partial=False)
    little.with_engine({"a": "int8", "b": "fp32"}).require_met("g", allow_partial=False)
    with pytest.raises(PrecisionNotMetError, match="not reached"):
        little.with_engine({"a": "fp32"}).require_met("g", allow_partial=False)


def test_an_exclusion_is_no_shortfall() -> None:
    assert GOOD.with_engine({"b": "fp32", "d": "fp32"}).shortfall == ()


def test_the_report_names_every_layer_in_fp32() -> None:
    report = json.loads(json.dumps(GOOD.to_dict()))
    assert [(layer["node"], layer["exclusion"]) for layer in report["layers_in_fp32"]] == [
        ("b", "gdn"),
        ("d", "softmax"),
    ]
    assert report["exclusions"]["gdn"] == {"reason": "squares", "layers": 1}


def _network_layer(kind: str, node: str, *outputs: str) -> dict[str, object]:
    return {"name": node, "type": kind, "metadata": f"[ONNX Layer: {node}]", "outputs": list(outputs)}


def test_a_network_is_read_node_by_node() -> None:
    layers = [
        _network_layer("CAST", "a", "FLOAT"),
        _network_layer("CONVOLUTION", "a", "HALF"),
        _network_layer("ELEMENTWISE", "b", "HALF"),
        _network_layer("ELEMENTWISE", "b", "FLOAT"),
        _network_layer("SHAPE", "c", "INT64"),
        {"name": "loose", "type": "ELEMENTWISE", "metadata": "", "outputs": ["FLOAT"]},
    ]
    assert precision_by_node(layers) == {"a": "fp16", "b": "fp32"}


def test_an_fp32_network_may_hold_nothing_shorter() -> None:
    require_fp32("g", [_network_layer("CONVOLUTION", "a", "FLOAT"), _network_layer("CAST", "b", "UINT8")])
    with pytest.raises(PrecisionNotMetError, match="not in FP32"):
        require_fp32("g", [_network_layer("CONVOLUTION", "a", "HALF")])


def test_an_entropy_graph_wants_tf32_cleared() -> None:
    require_exact("step_00", {"tf32": False})
    require_exact("step_00", {"version": "a builder that has no such flag"})
    with pytest.raises(PrecisionNotMetError, match="TF32 set"):
        require_exact("step_00", {"tf32": True})
