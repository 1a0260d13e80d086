"""Files of weights from strangers: nothing in them is executed, and each way to be wrong has its sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ptp_model.errors import CheckpointError, PickledObjectsError
from ptp_model.importing.sources import read_source
from ptp_model.importing.statistics import read_statistics


def saved(folder: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, folder / "codec.pth", _use_new_zipfile_serialization=zipped)
    return folder / "codec.pth"


class Hostile:
    """What a pickle can do: it names a function to be called while it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["beside the weights", "among the weights", "instead of weights"])
def test_a_hostile_file_is_not_executed(zipped: bool, place: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    weights: dict[str, Any] = {"g_a.0.bias": torch.zeros(1)}
    content = {
        "beside the weights": {"state_dict": weights, "extra": Hostile(mark)},
        "among the weights": weights | {"g_a.0.weight": Hostile(mark)},
        "instead of weights": Hostile(mark),
    }[place]
    with pytest.raises(PickledObjectsError, match=r"has to be unpickled \(posix\.mkdir\)"):
        read_source(saved(tmp_path, content, zipped))
    assert not mark.exists()


def test_a_whole_module_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(PickledObjectsError, match=r"torch\.nn\.modules\.linear\.Linear.*save\(model\.state_dict"):
        read_source(saved(tmp_path, torch.nn.Linear(1, 1)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "expected names with tensors, got list"),
        ({"epoch": 1}, r"expected tensors, got none \(only epoch\)"),
        ({}, r"got none \(only nothing\)"),
        ({"model": {"a": torch.zeros(1)}, "net": {"a": torch.zeros(1)}}, "got model and net"),
    ],
)
def test_files_without_one_set_of_weights(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_source(saved(tmp_path, content))


def test_the_innermost_container_is_found_and_the_rest_is_named(tmp_path: Path) -> None:
    weights = {"module.g_a.0.bias": torch.ones(1)}
    optimiser = {"state": {0: {"momentum": torch.zeros(1)}}, "lr": 0.1}
    content = {
        "model": {"state_dict": weights, "name": "x"},
        "net": {"width": 3},
        "prompts": {"seg": {"p_ga.0.bias": torch.zeros(1)}},
        "optimizer": optimiser,
        "loss": torch.tensor(0.5),
    }
    source = read_source(saved(tmp_path, content))
    assert source.container == "model.state_dict"
    assert set(source.tensors) == {"module.g_a.0.bias", "prompts.seg.p_ga.0.bias"}
    assert source.passed_over == {"net": "dict", "optimizer": "dict", "loss": "Tensor", "name": "str"}


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", CheckpointError, "something unreadable"),
        (b"not a checkpoint", PickledObjectsError, "or is none of torch.save"),
        (b"\xff\x00\x00\x00\x00\x00\x00\x00{}", CheckpointError, "expected a safetensors file, got a damaged one"),
    ],
)
def test_files_that_are_something_else(data: bytes, error: type[Exception], words: str, tmp_path: Path) -> None:
    (tmp_path / "codec.pth").write_bytes(data)
    with pytest.raises(error, match=words):
        read_source(tmp_path / "codec.pth")


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="something unreadable"):
        read_source(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"mean": [0.0] * 24}, "expected mean and std"),
        ({"mean": [0.0] * 24, "std": [1.0] * 23}, "expected 24 figures of each"),
        ({"mean": [0.0] * 24, "std": [0.0] * 24}, "expected figures above 0"),
        ({"mean": [float("nan")] * 24, "std": [1.0] * 24}, "expected finite figures"),
        ({"mean": ["a"] * 24, "std": [1.0] * 24}, "expected a list of numbers"),
        ([1, 2], "expected a JSON object"),
    ],
)
def test_wrong_statistics(content: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=words):
        read_statistics(tmp_path / "figures.json", 24)
