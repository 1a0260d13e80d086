"""One table says what every photograph may be used for: it is complete, free of overlaps, and obeyed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ptp_model.training import split
from ptp_model.training.data import is_held_out
from ptp_model.training.photos import selection
from ptp_model.training.split import RESERVED, TRAINING, Entry, Split, SplitError, compose
from ptp_model.training.split.__main__ import main


def _shipped(shipped_photos: dict[str, Path]) -> Path:
    return next(iter(shipped_photos.values())).parent / "photos.json"


def test_nothing_is_both_learned_from_and_reserved() -> None:
    table = split.load()
    roles_of: dict[str, set[str]] = {}
    for entry in table.entries:
        for key in (entry.scene, *entry.sha256):
            roles_of.setdefault(key, set()).update(entry.roles)

    assert table.entries
    assert [key for key, roles in roles_of.items() if roles & TRAINING and roles & RESERVED] == []
    assert table.overlaps() == ()


def test_calibration_and_parity_are_apart() -> None:
    table = split.load()
    of = {role: {key for e in table.entries if role in e.roles for key in (e.scene, *e.sha256)} for role in RESERVED}

    assert of["calibration"]
    assert of["parity"]
    assert not of["calibration"] & of["parity"]
    assert not of["evaluation"] & of["parity"]


def test_every_photograph_of_the_selection_is_in_the_table() -> None:
    rows = {entry.name: entry for entry in split.load().entries if entry.origin == "debian"}
    sources = {source.name: source for source in selection.load().sources}

    assert set(rows) == set(sources)
    for name, source in sources.items():
        assert rows[name].sha256[0] == source.sha256, name
        assert len(rows[name].sha256) == 2, f"{name}: expected the source's digest and the prepared file's"
        assert rows[name].roles == compose.ROLES_OF_SPLIT[source.split], name


def test_every_shipped_photograph_is_in_the_table(shipped_photos: dict[str, Path]) -> None:
    table = split.load()
    listed = {row["file"]: row for row in json.loads(_shipped(shipped_photos).read_text(encoding="utf-8"))["photos"]}

    assert set(listed) == set(shipped_photos)
    for name, path in shipped_photos.items():
        assert listed[name]["group"] in table.roles_of(split.sha256_of(path)), name
        assert table.roles_of(listed[name]["source_sha256"]), name
        assert not table.roles_of(split.sha256_of(path)) & TRAINING, name


def test_pictures_made_of_one_source_share_their_scene() -> None:
    scenes: dict[str, set[str]] = {}
    for entry in split.load().entries:
        for digest in entry.sha256:
            scenes.setdefault(digest, set()).add(entry.scene)

    assert [digest for digest, found in scenes.items() if len(found) > 1] == []
    twins = {e.name: e.scene for e in split.load().entries if e.origin == "shipped" and e.scene.startswith("lomiri-")}
    assert set(twins) == {"mountain.jpg", "brook.jpg", "dandelions.jpg", "dogs.jpg"}


def test_labelled_photographs_follow_the_rule_on_their_ids() -> None:
    rows = [entry for entry in split.load().entries if entry.origin == "coco-mini"]

    assert len(rows) == 128
    for entry in rows:
        assert entry.roles == (frozenset({"evaluation"}) if is_held_out(int(entry.name)) else TRAINING), entry.name
    assert split.load().named("coco-mini", "evaluation") == {e.name for e in rows if is_held_out(int(e.name))}


def _rows(**changes: Any) -> str:
    row = {"name": "a", "origin": "debian", "scene": "a", "roles": ["stage1"], "sha256": ["0" * 64]}
    other = {"name": "b", "origin": "shipped", "scene": "b", "roles": ["parity"], "sha256": ["1" * 64]}
    return json.dumps({"photos": [row, other | changes]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected rows of name"),
        ("[]", "expected rows of name"),
        (_rows(roles=[]), "expected rows of name"),
        (_rows(roles=["play"]), "play"),
        (_rows(origin="nowhere"), "nowhere"),
        (_rows(sha256=["0" * 64]), r"file 0+ is for stage1 and for parity"),
        (_rows(scene="a"), "scene a is for stage1 and for parity"),
        (_rows(roles=["stage1", "evaluation"]), "one or the other"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(text: str, words: str) -> None:
    assert len(split.parse(_rows()).entries) == 2
    with pytest.raises(SplitError, match=words):
        split.parse(text)


def test_reserved_photographs_are_refused(tmp_path: Path, shipped_photos: dict[str, Path]) -> None:
    own = tmp_path / "mine.jpg"
    own.write_bytes(b"a photograph that the table does not hold")
    split.refuse_reserved([own])
    renamed = tmp_path / "renamed.jpg"
    renamed.write_bytes(shipped_photos["cat.jpg"].read_bytes())
    with pytest.raises(SplitError, match=r"renamed\.jpg: expected a photograph to learn from; this one is for parity;"):
        split.refuse_reserved([own, renamed])
    with pytest.raises(SplitError, match="is for calibration, and so are 1 more"):
        split.refuse_reserved([shipped_photos["dogs.jpg"], renamed])


@pytest.fixture
def governed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A small world: the selection's index, two labelled photographs, one shipped one made of a held-out source."""
    sources = selection.load().sources
    rows = [{"sha256": f"{i:064x}", "source": {"sha256": source.sha256}} for i, source in enumerate(sources)]
    (tmp_path / "index.json").write_text(json.dumps({"photos": rows}))
    (tmp_path / "images").mkdir()
    for number in (9, 11):
        (tmp_path / "images" / f"{number:012d}.jpg").write_bytes(bytes([number]))
    twin = next(source for source in sources if source.split == "held-out")
    shipped = {"file": "twin.jpg", "group": "parity", "sha256": "f" * 64, "source_sha256": twin.sha256}
    (tmp_path / "photos.json").write_text(json.dumps({"photos": [shipped]}))
    monkeypatch.setattr(compose, "committed", lambda: tmp_path / "split.json")
    paths = {"--prepared": "index.json", "--coco": "images", "--shipped": "photos.json"}
    return lambda *more: [*(word for k, v in paths.items() for word in (k, str(tmp_path / v))), *more]


def test_the_table_is_written_and_checked(governed: Callable[..., list[str]], tmp_path: Path) -> None:
    assert CliRunner().invoke(main, governed()).exit_code == 1, "there is no table yet"
    written = CliRunner().invoke(main, governed("--write"))
    assert written.exit_code == 0, written.output
    assert CliRunner().invoke(main, governed()).output == "348 photographs, split.json fits\n"
    table = split.parse((tmp_path / "split.json").read_text(encoding="utf-8"))
    twin = table.entries[-1]
    assert twin.scene.count("-"), "a picture made of another's source takes its scene"
    assert table.roles_of(twin.sha256[1]) == {"parity", "evaluation"}

    (tmp_path / "images" / "000000000010.jpg").write_bytes(b"new")
    stale = CliRunner().invoke(main, governed())
    assert stale.exit_code == 1
    assert "000000000010" in stale.output


def test_scenes_written_by_hand_stay() -> None:
    entries = (Entry("a", "debian", "a", frozenset({"stage1"}), ("0" * 64,)),)
    earlier = Split((Entry("a", "debian", "the mill", frozenset({"prompts"}), ("1" * 64,)),))

    assert compose.with_scenes(entries, earlier).entries[0].scene == "the mill"


def test_an_index_that_lacks_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"photos": []}')
    with pytest.raises(SplitError, match="lacks 345 photographs"):
        compose.debian_entries(selection.load(), tmp_path / "index.json")
