"""Checkpoints that are altered, incomplete or of another spec are refused by name, and nothing is unpickled."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from ptp_model import checkpoint
from ptp_model.checkpoint import TaskModel
from ptp_model.codec import FeatureCodec
from ptp_model.errors import CheckpointError
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    codec = FeatureCodec(preset("tiny"))
    teacher = build("efficientnet-lite0", "seg")
    checkpoint.save(tmp_path / "c", codec, {"seg": TaskModel(TaskPrompts(codec.spec), teacher)}, {"note": "random"})
    return tmp_path / "c"


def edit(folder: Path, **changes: object) -> None:
    path = folder / checkpoint.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_round_trip(folder: Path) -> None:
    loaded = checkpoint.load(folder / checkpoint.MANIFEST)
    assert loaded.spec == preset("tiny")
    assert loaded.digest == checkpoint.load(folder).digest
    torch.manual_seed(0)
    again = FeatureCodec(preset("tiny"))
    for name, value in again.state_dict().items():
        assert torch.equal(value, loaded.codec.state_dict()[name]), name
    assert not any(p.requires_grad for p in loaded.codec.parameters())
    assert set(loaded.tasks) == {"seg"}


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["codec.safetensors", "task.seg.safetensors"])
def test_altered_byte(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name} was altered"):
        checkpoint.load(folder)


def test_missing_file(folder: Path) -> None:
    (folder / "codec.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"codec\.safetensors is missing"):
        checkpoint.load(folder)


def test_another_spec(folder: Path) -> None:
    edit(folder, spec=dataclasses.replace(preset("tiny"), N=40).to_dict())
    with pytest.raises(CheckpointError, match="expected shape"):
        checkpoint.load(folder)
    edit(folder, spec=preset("tiny", context="zigzag").to_dict())
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "zip"}, "expected format"),
        ({"version": 99}, "expected version 1, got 99"),
        ({"codec": {"file": "../x", "sha256": "0"}}, "outside the checkpoint's folder"),
        ({"codec": "x"}, "mistyped field"),
        ({"spec": {}}, "lacks or misnames"),
        ({"tasks": {"fly": {"file": "codec.safetensors", "sha256": "0"}}}, "was altered"),
    ],
)
def test_strange_manifest(folder: Path, changes: dict[str, object], words: str) -> None:
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(folder)


def test_unreadable_manifest(folder: Path) -> None:
    (folder / checkpoint.MANIFEST).write_bytes(b"\x80\x04not json")
    with pytest.raises(CheckpointError, match="not readable JSON"):
        checkpoint.load(folder)


def test_a_pickle_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    import hashlib

    data = b"\x80\x04\x95" + bytes(64)
    (folder / "codec.safetensors").write_bytes(data)
    edit(folder, codec={"file": "codec.safetensors", "sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.load(folder)


def test_weights_stored_in_float16_come_back_rounded(tmp_path: Path) -> None:
    codec = FeatureCodec(preset("tiny", rates=2))
    checkpoint.save(tmp_path / "whole", codec, {}, {})
    checkpoint.save(tmp_path / "half", codec, {}, {}, half=True)
    sizes = [(tmp_path / name / "codec.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.55 * sizes[1]
    loaded = checkpoint.load(tmp_path / "half").codec.state_dict()
    for name, value in codec.state_dict().items():
        if name.startswith("g_a"):
            assert loaded[name].dtype == torch.float32
            assert torch.equal(loaded[name], value.half().float()), name


def test_weights_beyond_float16_are_not_stored_in_it(tmp_path: Path) -> None:
    codec = FeatureCodec(preset("tiny"))
    with torch.no_grad():
        codec.g_a[0].bias[0] = 1e6
    with pytest.raises(CheckpointError, match="beyond float16"):
        checkpoint.save(tmp_path / "half", codec, {}, {}, half=True)
