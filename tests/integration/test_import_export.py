"""Weights from elsewhere all the way: imported by command, exported by command, a photograph through the bundle."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from ptp_export.cli import export_command
from ptp_export.import_cli import import_command
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_runtime import Session


def run(command: click.Command, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = FeatureCodec(preset("tiny")).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "codec.pth")
    run(import_command, tmp_path / "codec.pth", "--preset", "tiny", "-o", tmp_path / "imported")
    return tmp_path / "imported"


def test_the_exporter_takes_an_imported_codec(imported: Path, tmp_path: Path) -> None:
    arguments = ["--task", "view", "--checkpoint", imported, "--size", "64x64", "-o", tmp_path / "bundle"]
    assert "hyper" in run(export_command, *arguments, "--only", "hyper")


@pytest.mark.soak
def test_a_photograph_passes_through_an_imported_codec(imported: Path, tmp_path: Path, cat_photo: Path) -> None:
    run(export_command, "--task", "view", "--checkpoint", imported, "--size", "300x451", "-o", tmp_path / "bundle")
    session = Session.open(tmp_path / "bundle")
    assert session.decode(session.encode(cat_photo))
