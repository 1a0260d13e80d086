"""Engines are found by what went into them, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptp_export.engines.engine_cache import EngineCache, cache_key

KEY, OTHER = cache_key({"a": 1}), cache_key({"a": 2})


def test_a_key_depends_on_every_fact_and_on_no_order() -> None:
    assert cache_key({"a": 1, "b": [1, 2]}) == cache_key({"b": [1, 2], "a": 1})
    assert len({KEY, OTHER, cache_key({"a": 1, "b": None}), cache_key({})}) == 4


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "not" / "there" / "yet")
    assert cache.find(KEY) is None
    cache.keep(KEY, b"plan", {"layers": [1]})

    found = cache.find(KEY)
    assert found is not None
    assert found[0] == b"plan"
    assert found[1]["layers"] == [1]
    assert cache.find(OTHER) is None
    assert not list(cache.folder.glob(".*"))


@pytest.mark.parametrize("file", ["engine.plan", "report.json"])
@pytest.mark.parametrize("content", [None, b"", b"null", b'{"plan_sha256": "ab"}'])
def test_what_is_damaged_is_forgotten(tmp_path: Path, file: str, content: bytes | None) -> None:
    cache = EngineCache(tmp_path)
    cache.keep(KEY, b"plan", {})
    damaged = tmp_path / KEY / file
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)

    assert cache.find(KEY) is None
    cache.keep(KEY, b"another", {})
    found = cache.find(KEY)
    assert found is not None
    assert found[0] == b"another"


def test_two_that_build_the_same_do_not_disturb_one_another(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.keep(KEY, b"first", {})
    cache.keep(KEY, b"second", {})

    found = cache.find(KEY)
    assert found is not None
    assert found[0] == b"first"
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_a_full_cache_forgets_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, most_bytes=2500)
    keys = [cache_key({"n": n}) for n in range(3)]
    for number, key in enumerate(keys[:2]):
        cache.keep(key, bytes(1000), {})
        os.utime(tmp_path / key, (number, number))
    assert cache.find(keys[0]) is not None, "used: no longer the oldest"
    cache.keep(keys[2], bytes(1000), {})

    assert [cache.find(key) is not None for key in keys] == [True, False, True]


def test_an_engine_larger_than_the_cache_is_kept_alone(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, most_bytes=10)
    cache.keep(KEY, bytes(100), {})
    cache.keep(OTHER, bytes(100), {})

    assert (cache.find(KEY), cache.find(OTHER) is not None) == (None, True)


def test_a_folder_that_cannot_be_used_is_as_good_as_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EngineCache(tmp_path / "file" / "cache")
    cache.keep(KEY, b"plan", {})

    assert cache.find(KEY) is None
