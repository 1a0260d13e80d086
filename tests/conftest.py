"""Fixtures shared by all kinds of tests, and the rule that lets the suite run where torch and onnx are absent."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]

# Fixtures that need torch and the exporter.
EXPORTED = {"demo_bundle", "tiny_checkpoint"}

# Engines that the tests build are built: none comes out of the cache of whoever runs them, and none goes in.
os.environ["PTP_ENGINE_CACHE"] = "off"

# The same examples in every run: a change fails its own test run, not a later one. `make soak` draws new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore", max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over modules that are not the runtime's when only the runtime's tests were asked for.

    Such a module may import torch on its first line: without torch it could not even be collected.
    """
    asked = str(config.option.markexpr)
    only_runtime = asked.startswith("runtime")
    is_test = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    if only_runtime and is_test and not _is_marked_runtime(collection_path):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test of the runtime alone that wants something exported: it could not run without the exporter."""
    for item in items:
        wanted = EXPORTED & set(getattr(item, "fixturenames", ()))
        if wanted and item.get_closest_marker("runtime"):
            raise pytest.UsageError(f"{item.nodeid} is marked runtime, yet uses {', '.join(sorted(wanted))}")


def _is_marked_runtime(path: Path) -> bool:
    for node in ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            return "pytest.mark.runtime" in ast.unparse(node.value)
    return False


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout the tests run in."""
    return ROOT


@pytest.fixture(scope="session")
def shipped_photos() -> dict[str, Path]:
    """The photographs in the package, by file name; found without importing the exporter."""
    folder = ROOT / "export" / "ptp_export" / "photos"
    found = {path.name: path for path in sorted(folder.glob("*.jpg"))}
    if not found:
        raise RuntimeError(f"no photographs in {folder}: tests would pass on nothing")
    return found


@pytest.fixture(scope="session")
def cat_photo(shipped_photos: dict[str, Path]) -> Path:
    """The cat that the demo shows: 451 x 300 pixels, no multiple of 64."""
    return shipped_photos["cat.jpg"]


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle: the demo checkpoint's segmentation task, FP16, ONNX; exported once for the whole run.

    Tests read it. One that must change a file copies the folder first.
    """
    export = _exporter()
    bundle = tmp_path_factory.mktemp("demo") / "bundle"
    export(["--task", "seg", "--fp16", "--output", str(bundle)])
    return bundle


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec of the smallest size with random weights, two rates and a teacher's stem, and prompts for ``cls``.

    For whole exports whose subject is not the demo: they take a third of its time.
    """
    import torch

    from ptp_model import checkpoint
    from ptp_model.codec import FeatureCodec
    from ptp_model.prompts import TaskPrompts
    from ptp_model.spec import preset
    from ptp_model.teachers import build

    torch.manual_seed(21)
    codec, teacher = FeatureCodec(preset("tiny", transform="stem", rates=2)).eval(), build("efficientnet-lite0", "cls")
    codec.stem.adopt(teacher.stem_layers())
    codec.feature_std.fill_(10.0)
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint.save(folder, codec, {"cls": checkpoint.TaskModel(TaskPrompts(codec.spec).eval(), teacher)}, {})
    return folder


def _exporter() -> Callable[[list[str]], None]:
    """The command ``ptp-export`` itself: the fixture is what a user gets. Imported late, torch takes seconds."""
    from ptp_export.cli import export_command

    def run(arguments: list[str]) -> None:
        export_command.main(arguments, standalone_mode=False)

    return run
