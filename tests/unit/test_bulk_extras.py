"""Collections as Parquet and on Ray: apart, because the runtime alone has neither."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptp_runtime import Session
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.run import run_bulk

POCKET = {"backend": PocketBackend()}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The pocket model, segmentation."""
    return write_pocket_bundle(tmp_path / "bundle")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos, one of them damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        file = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        (folder / f"{number}.png").write_bytes(file.getvalue()[: 200 if number == 2 else None])
    return folder


def _choices(layout: str) -> Choices:
    return Choices("infer", "seg", None, False, layout, 2)


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_parquet(bundle: Path, photos: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("out", "again"):
        run_bulk(bundle, [str(photos)], tmp_path / name, _choices("parquet"), workers=1, session=POCKET)

    shards = sorted((tmp_path / "out").glob("shard-*.parquet"))
    rows = [row for shard in shards for row in parquet.read_table(shard).to_pylist()]
    assert [row["key"] for row in rows] == ["0", "1", "3", "4"]
    with Session.open(bundle, PocketBackend()) as session:
        assert rows[0]["ptp"] == session.encode(photos / "0.png")
    assert rows[0]["mask_png"].startswith(b"\x89PNG")
    assert _files(tmp_path / "out") == _files(tmp_path / "again")


def test_ray_gives_the_same(bundle: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run_bulk(bundle, [str(photos)], tmp_path / "pool", _choices("files"), workers=1, session=POCKET)
    summary = run_bulk(bundle, [str(photos)], tmp_path / "ray", _choices("files"), workers=2, ray=True, session=POCKET)

    assert (summary.photos, summary.failed) == (4, 1)
    assert _files(tmp_path / "ray") == _files(tmp_path / "pool")
