"""The table of parameter counts in docs/model.md is what the modules have."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_table_of_counts(repository: Path) -> None:
    lines = (repository / "docs" / "model.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| preset | transform"))
    names = [cell.strip().strip("`") for cell in lines[start].strip("|").split("|")]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True)))
    assert len(rows) == 13
    for row in rows:
        if row["preset"] == "full" and row["context mode"] == "zigzag":
            continue  # a gigabyte; tests/unit/test_model_counts.py counts it
        spec = preset(row.pop("preset"), transform=row.pop("transform"), context=row.pop("context mode"))
        codec = FeatureCodec(spec)
        assert int(row.pop("prompts of one task").replace(",", "")) == count(TaskPrompts(spec))
        for part, written in row.items():
            assert int(written.replace(",", "")) == count(codec.get_submodule(part)), (spec.preset, part)
