"""What an engine computes in, from what its inspector says; and that it is asked once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptp_runtime.engines.inspection import precision_by_node
from ptp_runtime.engines.proof import EngineProof, ProofMemory, proof_from_inspection, require_proof
from ptp_runtime.errors import EngineError, EnginePrecisionError
from ptp_runtime.manifest import EngineEntry

pytestmark = pytest.mark.runtime

ASKED = {"fp16": {"conv": 0.6, "up": 0.3}, "fp32": {"square": 0.1}}
FLAT = {node: precision for precision, nodes in ASKED.items() for node in nodes}
ENTRY = EngineEntry(
    "engines/a.plan", "head", "head", "tensorrt", "fp16", "ab" * 32, "10.13", (), {}, proof="network", asked=ASKED
)


def layer(nodes: str, inputs: str, outputs: str) -> dict[str, Any]:
    """A layer as TensorRT 10 describes it.

    Args:
        nodes: names with spaces between them.
        inputs, outputs: types with spaces between them.
    """
    tensors = [[{"Name": "t", "Format/Datatype": kind} for kind in kinds.split()] for kinds in (inputs, outputs)]
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes.split())
    return {"Name": nodes, "Inputs": tensors[0], "Outputs": tensors[1], "Metadata": metadata}


def inspection(*layers: Any) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["image"]})


@pytest.mark.parametrize(
    ("described", "precision"),
    [
        ("Half", "fp16"),
        ("Row major linear FP16 format", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Float", "fp32"),
        ("Row major linear FP32", "fp32"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("BFloat16", "bf16"),
        ("FP8", "fp8"),
    ],
)
def test_types_are_read_as_tensorrt_writes_them(described: str, precision: str) -> None:
    tensor = [{"Name": "t", "Format/Datatype": described}]
    text = inspection({"Inputs": tensor, "Outputs": tensor, "Metadata": "[ONNX Layer: conv]"})

    assert precision_by_node(text, FLAT) == {"conv": precision}


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (layer("conv", "Half", "Half"), {"conv": "fp16"}),
        (layer("conv", "Float", "Float"), {"conv": "fp32"}),
        (layer("conv", "Half Int32", "Half"), {"conv": "fp16"}),
        (layer("conv", "Int8", "Half"), {"conv": "int8"}),
        (layer("conv", "Float", "Half"), {}),
        (layer("conv up", "Half", "Half"), {"conv": "fp16", "up": "fp16"}),
        (layer("conv square", "Half", "Half"), {}),
        (layer("conv cast_7", "Float", "Float"), {}),
        (layer("conv", "Int64", "Bool"), {}),
        (layer("somewhere_else", "Half", "Half"), {}),
        ("conv", {}),
    ],
)
def test_a_node_has_a_precision_where_the_types_leave_no_choice(one: Any, found: dict[str, str]) -> None:
    assert precision_by_node(inspection(one), FLAT) == found


def test_a_node_in_two_layers_is_as_precise_as_the_longer_one() -> None:
    both = [layer("conv", "Half", "Half"), layer("conv", "Float", "Float")]

    assert precision_by_node(inspection(*both), FLAT) == {"conv": "fp32"}
    assert precision_by_node(inspection(*reversed(both)), FLAT) == {"conv": "fp32"}


def test_an_engine_as_asked_is_proved() -> None:
    layers = (layer("conv", "Half", "Half"), layer("up", "Half", "Half"), layer("square", "Float", "Float"))
    proof = proof_from_inspection(ASKED, inspection(*layers))

    assert proof.proved
    assert proof.seen == pytest.approx(1.0)
    assert proof.shares == {"fp16": 0.9, "fp32": 0.1}
    assert "90% fp16" in proof.sentence()
    require_proof(ENTRY, proof)


@pytest.mark.parametrize(
    "wrong", [layer("conv", "Float", "Float"), layer("square", "Half", "Half"), layer("up", "BFloat16", "BFloat16")]
)
def test_anything_else_than_asked_is_refused(wrong: dict[str, Any]) -> None:
    proof = proof_from_inspection(ASKED, inspection(wrong))

    assert not proof.proved
    with pytest.raises(EnginePrecisionError, match="does not compute in what was asked"):
        require_proof(ENTRY, proof)


@pytest.mark.parametrize("text", [inspection(), inspection("conv", "up"), inspection(layer("up", "Half", "Half"))])
def test_an_engine_that_shows_little_is_neither_proved_nor_refused(text: str) -> None:
    proof = proof_from_inspection(ASKED, text)

    assert not proof.proved
    assert "not proved on the engine" in proof.sentence()
    require_proof(ENTRY, proof)


def test_without_products_layers_count() -> None:
    asked = {"fp16": {"a": 0.0, "b": 0.0}}

    assert proof_from_inspection(asked, inspection(layer("a", "Half", "Half"))).seen == 0.5
    assert proof_from_inspection(asked, inspection()).seen == 0.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": 3}', '{"Layers": [{"Inputs": ["x"]}]}', "null"])
def test_an_unreadable_inspection_is_a_typed_error(text: str) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        precision_by_node(text, FLAT)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["Layers", "Inputs", "Outputs", "Metadata", "Format/Datatype"]), x), max_leaves=12))  # fmt: skip
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        found = precision_by_node(json.dumps(value), FLAT)
    except EngineError:
        return
    assert set(found) <= set(FLAT)


PROOF = EngineProof(0.75, {"fp16": 0.75}, ())


def test_a_proof_is_remembered_for_its_engine_device_and_library(tmp_path: Path) -> None:
    memory = ProofMemory(tmp_path / "proofs")
    memory.remember(ENTRY, "L4", "10.13", PROOF)

    assert ProofMemory(tmp_path / "proofs").recall(ENTRY, "L4", "10.13") == PROOF
    assert memory.recall(ENTRY, "H100", "10.13") is None
    assert memory.recall(ENTRY, "L4", "11.0") is None
    assert memory.recall(dataclasses.replace(ENTRY, sha256="cd" * 32), "L4", "10.13") is None
    assert memory.recall(dataclasses.replace(ENTRY, asked={}), "L4", "10.13") is None


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"seen": "x", "shares": {}, "short": []}', '{"seen": 1}'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    memory = ProofMemory(tmp_path)
    memory.remember(ENTRY, "L4", "10.13", PROOF)
    (file,) = tmp_path.iterdir()
    file.write_text(text)

    assert memory.recall(ENTRY, "L4", "10.13") is None


def test_a_folder_that_cannot_be_written_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    memory = ProofMemory(tmp_path / "file" / "proofs")
    memory.remember(ENTRY, "L4", "10.13", PROOF)

    assert memory.recall(ENTRY, "L4", "10.13") is None
