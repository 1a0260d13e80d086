"""Streams of the integer entropy path that every later version decodes to the same symbols (docs/stability.md).

The files were made once, by ``make_streams.py``. They are never made again: what does not decode them is wrong.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ptp_runtime.bundle import Bundle
from ptp_runtime.latents import Latents
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime

STREAMS = Path(__file__).with_name("streams")
COMMITTED = {
    "checkerboard": "6fa71f1febc5b151458b4b55cd60e1ca2c001380d70c4f49f2e26e97ce31e5a1",
    "split": "23039e40b23a9281e04cb5675176161add70d7d95eed42c8ca8e72a11868e367",
    "zigzag": "f823875270f7b3ee9be6d2de1430c919f59a1ba581d0ae7dfcd10ce23dc2c213",
}
"""SHA-256 over the names and SHA-256 of all files of a set: committed bytes do not change."""


def _crc(values: npt.NDArray[Any], dtype: str) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(values.astype(dtype)).tobytes()):08x}"


def _digests(latents: Latents) -> dict[str, Any]:
    return {
        "z": _crc(latents.z, "<i4"),
        "y_int": _crc(latents.y_int[0], "<i4"),
        "steps": [
            {"symbols": _crc(s.symbols, "<i4"), "index": _crc(s.index, "u1"), "mean": _crc(s.mean, "<i2")}
            for s in latents.steps
        ],
    }


def _expected(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((STREAMS / name / "expected.json").read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("name", sorted(COMMITTED))
def test_the_committed_bytes_are_the_first_ones(name: str) -> None:
    folder = STREAMS / name
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]

    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == COMMITTED[name]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", sorted(COMMITTED))
def test_the_runtime_decodes_every_symbol(name: str, threads: int) -> None:
    expected = _expected(name)
    bundle = Bundle.open(STREAMS / name / "bundle")
    assert bundle.manifest.entropy.identity == expected["identity"]
    assert bundle.manifest.entropy.mode == "integer"
    assert len(expected["streams"]) == 4

    with Session.open(bundle, backend="cpu", threads=threads) as session:
        assert session.golden is not None
        assert session.golden.exact
        for entry in expected["streams"]:
            data = (STREAMS / name / entry["stream"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
            found = _digests(session.decode_detailed(data).latents)
            assert found == {key: entry[key] for key in ("z", "y_int", "steps")}, entry["stream"]


def test_the_set_covers_what_a_stream_can_hold() -> None:
    """Several sizes, escapes, both ends of symbols and indices."""
    headers, indices, symbols = [], set[int](), set[int]()
    for name in sorted(COMMITTED):
        with Session.open(STREAMS / name / "bundle", backend="cpu") as session:
            for entry in _expected(name)["streams"]:
                data = (STREAMS / name / entry["stream"]).read_bytes()
                decoded = session.decode_detailed(data)
                headers.append((decoded.rate.height, decoded.rate.width))
                for step in decoded.latents.steps:
                    indices |= set(np.unique(step.index).tolist())
                    symbols |= set(np.unique(step.symbols).tolist())
    assert len(set(headers)) >= 3
    assert indices >= set(range(2, 50))
    assert {-32767, 32767} <= symbols
    assert len(symbols) > 100
