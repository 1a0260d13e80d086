"""Rules about files: their size, their names, and what may not be written in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

MAX_LINES = 450
# A path that starts at the root of some machine. Documentation uses relative paths.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:work|root|home|tmp|Users|opt|mnt|data)/[\w.-]+")
NOT_TEXT = {".jpg", ".png", ".safetensors", ".bin", ".ptp", ".npz", ".onnx", ".gz"}
OTHERS_TEXT = {"LICENSE"}


def _tracked(root: Path) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: there is no list of tracked files")
    return [root / name for name in done.stdout.split("\0") if name and (root / name).is_file()]


def test_no_file_is_two_ideas(root: Path) -> None:
    files = [path for path in _tracked(root) if path.suffix == ".py"]
    long = {
        path.relative_to(root).as_posix(): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }

    assert files
    assert long == {}


def test_nothing_is_called_utils(root: Path) -> None:
    vague = {"util", "utils", "helpers", "misc", "common", "_core"}
    names = [path.relative_to(root) for path in _tracked(root)]

    assert [str(path) for path in names if vague & {Path(part).stem for part in path.parts}] == []


def test_no_machine_paths(root: Path) -> None:
    found = []
    for path in _tracked(root):
        if path.suffix in NOT_TEXT or path.name in OTHERS_TEXT:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found += [f"{path.relative_to(root)}:{number}: {hit}" for hit in MACHINE_PATH.findall(line)]

    assert found == []


@pytest.mark.parametrize(
    ("line", "is_machine_path"),
    [
        ("see /" + "home/someone/x", True),
        ('open("/' + 'tmp/x")', True),
        ("a relative/home/someone", False),
        ("https://example.org/" + "data/x", False),
        ("$OUT/" + "data/x", False),
    ],
)
def test_machine_paths_are_recognised(line: str, is_machine_path: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) is is_machine_path


def test_every_package_is_typed(package_folders: dict[str, Path]) -> None:
    assert all((folder / "py.typed").is_file() for folder in package_folders.values())


def test_every_folder_is_a_package(sources: tuple[Any, ...]) -> None:
    bare = {source.path.parent for source in sources if not (source.path.parent / "__init__.py").is_file()}

    assert bare == set(), "a folder without __init__.py is left out of what the tools walk"
