"""The manifest says back what it was told, in the same bytes, and refuses parts that do not fit together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ptp_runtime.errors import ManifestError
from ptp_runtime.manifest import (
    AnchorLevel,
    CentreCrop,
    ClassificationParameters,
    DetectionParameters,
    EngineEntry,
    Manifest,
    Resize,
    ScheduleEntry,
    SegmentationParameters,
    ShapeRange,
    TaskInfo,
    TensorInfo,
    entropy_identity,
    json_from_manifest,
    manifest_from_json,
)
from ptp_runtime.selftest import write_pocket_bundle

pytestmark = pytest.mark.runtime

DIGEST = "ab" * 32


def _manifest(folder: Path, **options: Any) -> Manifest:
    bundle = write_pocket_bundle(folder / "bundle", **options)
    return manifest_from_json((bundle / "manifest.json").read_bytes())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Of a pocket bundle for segmentation."""
    return _manifest(tmp_path)


def _engine(**changes: Any) -> EngineEntry:
    entry = EngineEntry(
        file="engines/head.engine",
        role="head",
        graph="head",
        target="tensorrt-rtx",
        precision="fp16",
        sha256=DIGEST,
        built_with="1.7.1.116",
        devices=("8.9", "12.0"),
        profile={"h": ShapeRange((1, 6, 16, 16), (1, 6, 128, 192), (1, 6, 1024, 1024))},
    )
    return dataclasses.replace(entry, **changes)


@pytest.mark.parametrize("task", ["seg", "det", "cls", "view"])
@pytest.mark.parametrize("context", ["checkerboard", "zigzag", "whole"])
def test_a_manifest_survives_the_file(tmp_path: Path, task: str, context: str) -> None:
    before = _manifest(tmp_path, task=task, context=context, resize=Resize(800, 1333))
    before = dataclasses.replace(
        before, engines=(_engine(),), audit={"head": {"fp16_share": 0.5, "note": "größer"}}, tools={"torch": "2.13"}
    )
    data = json_from_manifest(before)

    after = manifest_from_json(data)

    assert after == before
    assert json_from_manifest(after) == data


def test_a_crop_is_a_resize_of_another_kind(tmp_path: Path) -> None:
    before = _manifest(tmp_path, task="cls", resize=Resize(800, 1333))
    crop = dataclasses.replace(before.preprocessing, resize=CentreCrop(256, 224))
    scaled, cropped = json_from_manifest(before), json_from_manifest(dataclasses.replace(before, preprocessing=crop))

    assert json.loads(scaled)["preprocessing"]["resize"] == {"shorter_side": 800, "longer_side": 1333}
    found = json.loads(cropped)["preprocessing"]["resize"]
    assert found == {"shorter_side": 256, "crop": 224, "interpolation": "bicubic"}
    assert manifest_from_json(cropped).preprocessing.resize == CentreCrop(256, 224)
    with pytest.raises(ManifestError, match="crops more than there is"):
        CentreCrop(224, 225)


def test_a_classifier_may_have_a_thousand_classes(tmp_path: Path) -> None:
    names = tuple(str(number) for number in range(1000))
    before = _manifest(tmp_path, task="cls")
    before = dataclasses.replace(before, task=TaskInfo("cls", 3, names, ClassificationParameters()))

    assert manifest_from_json(json_from_manifest(before)) == before
    for task, number, parameters in (("seg", 1, SegmentationParameters()), ("det", 2, DetectionParameters())):
        with pytest.raises(ManifestError, match="another length"):
            TaskInfo(task, number, names, parameters)
    with pytest.raises(ManifestError, match="another length"):
        TaskInfo("cls", 3, names * 66, ClassificationParameters())


def test_the_file_protects_itself(manifest: Manifest) -> None:
    data = json_from_manifest(manifest)
    digest = json.loads(data)["manifest_sha256"]

    assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_zeros_elsewhere_do_not_confuse_the_seal(manifest: Manifest) -> None:
    sealed = dataclasses.replace(manifest, audit={"zeros": "0" * 64, "manifest_sha256": "0" * 64})

    assert manifest_from_json(json_from_manifest(sealed)) == sealed


def test_the_identity_is_the_hash_of_this_text() -> None:
    text = (
        "ptp entropy identity 1\n"
        "mode float\n"
        f"tables {'11' * 32}\n"
        "probability_bits 12\n"
        "skip_index 2\n"
        f"hyper {'22' * 32}\n"
        f"step 0 8 anchor {'33' * 32}\n"
        f"step 0 8 nonanchor {'44' * 32}\n"
    )

    identity = entropy_identity(
        mode="float",
        tables_sha256="11" * 32,
        probability_bits=12,
        skip_index=2,
        hyper_sha256="22" * 32,
        schedule=(ScheduleEntry("a", (0, 8), "anchor"), ScheduleEntry("b", (0, 8), "nonanchor")),
        step_sha256=["33" * 32, "44" * 32],
    )

    assert identity == hashlib.sha256(text.encode("ascii")).hexdigest()


def test_the_identity_needs_every_step() -> None:
    with pytest.raises(ManifestError, match="one digest for each step"):
        entropy_identity(
            mode="float",
            tables_sha256=DIGEST,
            probability_bits=12,
            skip_index=2,
            hyper_sha256=DIGEST,
            schedule=(ScheduleEntry("a", (0, 8), "all"),),
            step_sha256=[],
        )


def test_the_head_does_not_enter_the_identity(manifest: Manifest) -> None:
    graphs = tuple(
        dataclasses.replace(graph, sha256=DIGEST) if graph.role in ("analysis", "synthesis", "head") else graph
        for graph in manifest.graphs
    )

    changed = dataclasses.replace(manifest, graphs=graphs)

    assert changed.entropy.identity == manifest.entropy.identity


def _replace_graph(manifest: Manifest, name: str, **changes: Any) -> dict[str, Any]:
    return {"graphs": tuple(dataclasses.replace(g, **changes) if g.name == name else g for g in manifest.graphs)}


def _entropy(manifest: Manifest, **changes: Any) -> dict[str, Any]:
    return {"entropy": dataclasses.replace(manifest.entropy, **changes)}


def _schedule(manifest: Manifest, *steps: tuple[int, int, str]) -> dict[str, Any]:
    return _entropy(
        manifest, schedule=tuple(ScheduleEntry("step_00", (start, stop), region) for start, stop, region in steps)
    )


IMPOSSIBLE = {
    "two graphs of one name": (lambda m: {"graphs": (*m.graphs, m.graphs[0])}, "twice"),
    "no analysis": (lambda m: {"graphs": m.graphs[1:]}, "0 graphs of the role 'analysis'"),
    "two heads": (
        lambda m: {"graphs": (*m.graphs, dataclasses.replace(m.graph("head"), name="head2"))},
        "2 graphs of the role 'head'",
    ),
    "no hyper": (lambda m: {"graphs": tuple(g for g in m.graphs if g.name != "hyper")}, "no graph 'hyper'"),
    "one file, two digests": (
        lambda m: _replace_graph(m, "head", file=m.graph("analysis").file),
        "two digests",
    ),
    "converted entropy graph": (lambda m: _replace_graph(m, "step_01", precision="fp16"), "converted"),
    "an index of another dtype": (
        lambda m: _replace_graph(
            m, "step_01", outputs=(TensorInfo("index", "int64", (1,)), TensorInfo("mean", "int16", (1,)))
        ),
        "does not give",
    ),
    "no z": (lambda m: _replace_graph(m, "analysis", outputs=(TensorInfo("y", "float32", (1,)),)), "does not give"),
    "an unknown input": (
        lambda m: _replace_graph(m, "step_01", inputs=(TensorInfo("prompt", "float32", (1,)),)),
        "does not have",
    ),
    "no input": (lambda m: _replace_graph(m, "step_01", inputs=()), "does not have"),
    "a head without an input": (lambda m: _replace_graph(m, "head", inputs=()), "one input of four axes"),
    "a flat image": (
        lambda m: _replace_graph(m, "analysis", inputs=(TensorInfo("image", "float32", (1, 3)),)),
        "one input of four axes",
    ),
    "a head of another task": (
        lambda m: _replace_graph(m, "head", outputs=(TensorInfo("image", "float32", (1,)),)),
        "does not give",
    ),
    "an engine for a graph that is not there": (lambda m: {"engines": (_engine(graph="tail"),)}, "no graph 'tail'"),
    "an engine of another role": (lambda m: {"engines": (_engine(role="analysis"),)}, "another role"),
    "an engine outside": (lambda m: {"engines": (_engine(file="../x"),)}, "outside the bundle"),
    "sizes the wrong way round": (
        lambda m: {"preprocessing": dataclasses.replace(m.preprocessing, height=(128, 64))},
        "range of padded sizes",
    ),
    "sizes that are not padded": (
        lambda m: {"preprocessing": dataclasses.replace(m.preprocessing, width=(64, 100))},
        "range of padded sizes",
    ),
    "a lead that does not divide": (
        lambda m: {"preprocessing": dataclasses.replace(m.preprocessing, lead_multiple=3)},
        "lead_multiple",
    ),
    "another range of values": (
        lambda m: {"preprocessing": dataclasses.replace(m.preprocessing, value_range=(0.0, 0.5))},
        "0 to 1",
    ),
    "another identity": (lambda m: _entropy(m, identity=DIGEST), "does not belong"),
    "another threshold under the same identity": (lambda m: _entropy(m, skip_index=3), "does not belong"),
    "a step that is no entropy graph": (
        lambda m: _entropy(m, schedule=(ScheduleEntry("head", (0, 8), "all"),)),
        "no entropy graph",
    ),
    "nothing coded": (lambda m: _schedule(m), "exactly once"),
    "a channel left out": (lambda m: _schedule(m, (0, 7, "all")), "channel 7 exactly once"),
    "half a checkerboard": (lambda m: _schedule(m, (0, 8, "anchor")), "exactly once"),
    "a quadrant left out": (
        lambda m: _schedule(m, (0, 8, "top-left"), (0, 8, "top-right"), (0, 8, "bottom-left")),
        "exactly once",
    ),
    "regions that overlap": (lambda m: _schedule(m, (0, 8, "all"), (0, 8, "anchor")), "exactly once"),
    "a region twice": (lambda m: _schedule(m, (0, 8, "all"), (3, 4, "all")), "twice"),
    "too many channels": (lambda m: _schedule(m, (0, 9, "all")), "channels that do not exist"),
    "an empty range": (lambda m: _schedule(m, (3, 3, "all")), "channels that do not exist"),
    "a task id of another task": (
        lambda m: {"task": TaskInfo("seg", 2, m.task.classes, SegmentationParameters())},
        "does not belong to the task",
    ),
    "post-processing of another task": (
        lambda m: {"task": TaskInfo("seg", 1, m.task.classes, DetectionParameters())},
        "of another task",
    ),
    "no classes": (lambda m: {"task": TaskInfo("seg", 1, (), SegmentationParameters())}, "another length"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_parts_that_do_not_fit_are_refused(manifest: Manifest, name: str) -> None:
    change, message = IMPOSSIBLE[name]

    with pytest.raises(ManifestError, match=message):
        dataclasses.replace(manifest, **change(manifest))


def test_the_default_anchors_are_those_of_torchvision() -> None:
    levels = DetectionParameters().levels

    assert levels[0] == AnchorLevel(8, (32, 40, 50))
    assert levels[-1] == AnchorLevel(128, (512, 645, 812))


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(
            *(_keys(child) for key, child in value.items() if key not in ("spec", "tools", "audit"))
        )
    return set().union(*(_keys(child) for child in value)) if isinstance(value, list) else set()


def test_the_contract_names_every_field(tmp_path: Path, repository: Path) -> None:
    page = (repository / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    manifest = dataclasses.replace(_manifest(tmp_path, task="det", resize=Resize(1, 2)), engines=(_engine(),))
    document = json.loads(json_from_manifest(manifest))
    # The profile's keys are the names of an engine's inputs.
    document["engines"][0]["profile"] = document["engines"][0]["profile"]["h"]

    unnamed = {key for key in _keys(document) if not re.search(rf"[`.{{, ]{key}[`}}, ]", page)}

    assert len(_keys(document)) > 50
    assert unnamed == set()


def test_an_engines_proof_survives_the_file(manifest: Manifest) -> None:
    proved = _engine(
        proof="network", asked={"fp16": {"conv": 0.75}, "fp32": {"norm": 0.0}}, compatible=("hardware",), stripped=True
    )
    before = dataclasses.replace(manifest, engines=(proved,))

    assert manifest_from_json(json_from_manifest(before)) == before


def test_an_engine_of_an_older_manifest_has_no_proof(manifest: Manifest) -> None:
    document = json.loads(json_from_manifest(dataclasses.replace(manifest, engines=(_engine(proof="graph"),))))
    for name in ("proof", "asked", "compatible", "stripped"):
        del document["engines"][0][name]

    assert manifest_from_json(_sealed(document)).engines == (_engine(),)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("proof", "hope", "does not know"),
        ("asked", {"fp12": {}}, "no precision"),
        ("asked", {"fp16": {"conv": 1.5}}, "out of range"),
        ("asked", {"fp16": ["conv"]}, "no object"),
        ("compatible", ["everything"], "no kind of compatibility"),
        ("stripped", 1, "another type"),
    ],
)
def test_a_proof_that_makes_no_sense_is_refused(manifest: Manifest, field: str, value: Any, message: str) -> None:
    document = json.loads(json_from_manifest(dataclasses.replace(manifest, engines=(_engine(),))))
    document["engines"][0][field] = value

    with pytest.raises(ManifestError, match=message):
        manifest_from_json(_sealed(document))


def _sealed(document: dict[str, Any]) -> bytes:
    """The document as a file whose own digest is right."""
    text = json.dumps(document | {"manifest_sha256": "0" * 64})
    digest = hashlib.sha256(text.encode()).hexdigest()
    head, _, tail = text.rpartition("0" * 64)
    return (head + digest + tail).encode()
