"""The commands and programs that README.md and docs/ show do run.

A fenced block that follows a line ``<!-- runs -->`` is executed in a folder that holds a bundle called ``bundle``, a
photograph called ``photo.jpg`` and the weights of a codec of preset ``tiny`` called ``codec.pth``. In a ``console``
block each line that starts with ``$`` is a command of ours and must end with exit code 0; a ``python`` block is a
program.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = "<!-- runs -->"
# How each of our commands starts without relying on what is on PATH.
PROGRAMS = {
    "ptp": "from ptp_runtime.cli import main; raise SystemExit(main())",
    "ptp-export": "from ptp_export.cli import main; raise SystemExit(main())",
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block that is marked to run."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(page: Path, text: str) -> list[Block]:
    found = []
    for match in _FENCE.finditer(text):
        if text[: match.start()].rstrip().endswith(MARK):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page.relative_to(ROOT).as_posix(), line, match[1], match[2]))
    return found


BLOCKS = [block for page in PAGES for block in _blocks(page, page.read_text(encoding="utf-8"))]


@pytest.fixture
def workplace(tmp_path: Path, demo_bundle: Path, cat_photo: Path) -> Path:
    """The folder a reader of the page would stand in."""
    shutil.copytree(demo_bundle, tmp_path / "bundle")
    shutil.copy(cat_photo, tmp_path / "photo.jpg")
    torch.save(FeatureCodec(preset("tiny")).state_dict(), tmp_path / "codec.pth")
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_marked_block_runs(block: Block, workplace: Path) -> None:
    if block.language == "python":
        commands = [[sys.executable, "-c", block.text]]
    else:
        commands = [_command(line[1:]) for line in block.text.splitlines() if line.startswith("$")]
    assert commands, f"{block} holds nothing to run"

    for command in commands:
        done = _run(command, workplace)
        assert done.returncode == 0, f"{block}: {shlex.join(command)}\n{done.stdout}{done.stderr}"


def _command(line: str) -> list[str]:
    program, *arguments = shlex.split(line, comments=True)
    if program not in PROGRAMS:
        raise ValueError(f"only {sorted(PROGRAMS)} can be marked to run; got {program}")
    return [sys.executable, "-c", PROGRAMS[program], *arguments]


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    roots = [str(ROOT / name) for name in ("export", "runtime", "calibration", "ptp_model")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots), "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_readme_runs_something() -> None:
    assert {block.language for block in BLOCKS if block.page == "README.md"} == {"console", "python"}


def test_a_failing_command_fails(tmp_path: Path) -> None:
    done = _run(_command(" ptp inspect no-such-bundle"), tmp_path)

    assert done.returncode != 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    lost = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]

    assert lost == []


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", (ROOT / "README.md").read_text(encoding="utf-8")))

    assert {"demo", "test"} <= named
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
