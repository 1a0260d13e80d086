"""benchmarks/coder.py: its data, our side of it, and its document, where no other coder is installed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with no rival installed."""
    names = ("environment", "cold_start", "coder_data", "coder_rivals", "coder")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    rivals = importlib.import_module("coder_rivals")
    monkeypatch.setattr(rivals, "installed", lambda module: False)
    script = importlib.import_module("coder")
    monkeypatch.setattr(script, "cold_start", lambda: {"first decode": {"wall": 1.0, "cpu": 1.0}})
    yield script
    for name in names:
        sys.modules.pop(name, None)


def test_set_a_is_what_the_page_says(benchmark: ModuleType) -> None:
    sample = benchmark.coder_data.set_a()
    size = benchmark.coder_data.describe(sample.steps)

    assert size["symbols"] == 320 * 48 * 32
    assert size["steps"] == 20
    assert size["zeros"] == pytest.approx(0.94, abs=0.005)
    assert size["ideal_bytes"] == pytest.approx(0.3 * 512 * 768 / 8, rel=0.002)
    whole = np.zeros_like(sample.whole.symbols)
    for step in sample.steps:
        part = whole[step.first_channel : step.first_channel + step.symbols.shape[0]]
        part[step.covered()] = step.symbols[step.covered()]
    assert np.array_equal(whole, sample.whole.symbols)


def test_the_document_has_what_is_promised(benchmark: ModuleType, tmp_path: Path) -> None:
    result = CliRunner().invoke(benchmark.main, ["--rounds", "1", "--json", str(tmp_path / "coder.json")])

    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "coder.json").read_text())
    assert document["ratios"] == {"decode": {}, "encode": {}}
    assert 0 < document["overhead"] < 0.006
    assert document["environment"]["packages"]["numba"]
    assert document["set_a"]["missing"] == ["torch_ans", "constriction", "compressai"]
    assert {row["coder"] for row in document["set_a"]["coders"]} == {"ours", "ours, scalar kernels", "ours, flow"}
    assert set(document["two_cores"]) == {
        f"set A{of}, {kind}" for of in ("", ", sides × 3") for kind in ("best case", "flow")
    }
    assert all(gain.keys() == {"encode", "decode"} for gain in document["two_cores"].values())
    assert "not installed: torch_ans, constriction, compressai" in result.output


def test_ratios_are_those_of_the_fastest_variant_of_each_family(benchmark: ModuleType) -> None:
    def rival(name: str, family: str) -> object:
        return benchmark.Rival(name, family, False, *[None] * 4)

    coders = [rival("ours", "ours"), rival("slow", "a"), rival("fast", "a"), rival("other", "b")]
    times = {
        "ours": {"decode": [1.0, 2.0, 1.0]},
        "slow": {"decode": [9.0, 9.0, 9.0]},
        "fast": {"decode": [4.0, 4.0, 5.0]},
        "other": {"decode": [3.0, 6.0, 3.0]},
    }

    assert benchmark.ratios(times, coders, "ours", "decode") == {"a": 4.0, "b": 3.0}


def test_wrong_symbols_end_the_run(benchmark: ModuleType) -> None:
    sample = benchmark.coder_data.set_a()
    broken = benchmark.Rival("broken", "broken", False, lambda: b"", lambda data: [], len, lambda got: False)

    with pytest.raises(SystemExit, match="broken does not give the symbols back"):
        benchmark.measured([benchmark.ours("ours", sample.steps, flow=True), broken], 1, benchmark.CLOCKS["wall"])


def test_the_section_shows_the_committed_figures(benchmark: ModuleType, repository: Path) -> None:
    section = importlib.import_module("coder_section")
    document = json.loads((repository / "benchmarks" / "results" / "coder.json").read_text())
    rows: list[list[str]] = []

    def table(head: list[str], body: list[list[str]]) -> str:
        rows.extend(body)
        return " | ".join(head)

    text = section.coder_section(document, table, "Measured on: this.")

    shown = [document["set_a"], *document["others"], *document["latents"]]
    assert len(rows) == sum(len(part["coders"]) for part in shown)
    assert all(part["name"] in text for part in shown)
    for ratio in document["ratios"]["decode"].values():
        assert f"{ratio:.1f}×" in text
    sys.modules.pop("coder_section", None)
