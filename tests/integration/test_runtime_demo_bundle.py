"""The runtime on a real bundle: the demo checkpoint, exported by the command a user types, on the shipped photos."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptp_runtime import Session
from ptp_runtime.cli import main
from ptp_runtime.errors import AlteredFileError, DesynchronisedError, StreamError
from ptp_runtime.images import load_image
from ptp_runtime.latents import Latents
from ptp_runtime.tasks import Segmentation


@pytest.fixture(scope="module")
def session(demo_bundle: Path) -> Iterator[Session]:
    """The demo bundle on the CPU."""
    with Session.open(demo_bundle, backend="cpu", threads=1) as opened:
        yield opened


def _assert_equal(ours: Latents, theirs: Latents) -> None:
    assert np.array_equal(ours.z, theirs.z)
    assert len(ours.steps) == len(theirs.steps) > 0
    for a, b in zip(ours.steps, theirs.steps, strict=True):
        assert np.array_equal(a.symbols, b.symbols)
        assert np.array_equal(a.index, b.index)
        assert np.array_equal(a.mean, b.mean)
    assert np.array_equal(ours.y_int, theirs.y_int)


def test_every_photo_comes_back_symbol_for_symbol(session: Session, shipped_photos: dict[str, Path]) -> None:
    assert len(shipped_photos) >= 10
    for name, path in shipped_photos.items():
        photo = load_image(path)
        encoded = session.encode_detailed(photo)
        decoded = session.decode_detailed(encoded.data)

        _assert_equal(encoded.latents, decoded.latents)
        assert isinstance(decoded.output, Segmentation)
        assert decoded.output.mask.shape == photo.shape[:2], name
        assert 0.01 < encoded.rate.bits_per_pixel < 3, name
        coded = sum(int(np.count_nonzero(step.symbols)) for step in encoded.latents.steps)
        assert coded > 100, f"{name}: next to nothing was coded"


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (130, 1), (63, 65), (64, 128), (97, 161)])
def test_crops_of_any_size_come_back(session: Session, cat_photo: Path, size: tuple[int, int]) -> None:
    photo = load_image(cat_photo)[40 : 40 + size[0], 60 : 60 + size[1]]

    encoded = session.encode_detailed(photo)
    decoded = session.decode_detailed(encoded.data)

    _assert_equal(encoded.latents, decoded.latents)
    assert isinstance(decoded.output, Segmentation)
    assert decoded.output.mask.shape == size


def test_another_number_of_threads_reads_the_stream(session: Session, demo_bundle: Path, cat_photo: Path) -> None:
    data = session.encode(cat_photo)

    with Session.open(demo_bundle, backend="cpu", threads=2) as other:
        assert isinstance(other.decode(data), Segmentation)
        assert other.encode(cat_photo) == data


def test_auto_takes_the_cpu_and_says_why(demo_bundle: Path) -> None:
    with Session.open(demo_bundle) as opened:
        assert opened.backend.reason
        assert "ONNX Runtime" in opened.backend.entropy.provider


def test_a_changed_weight_in_the_entropy_path_would_be_noticed(session: Session, cat_photo: Path) -> None:
    """The last line of defence: a step that gives one other scale index, as another device might."""
    data = session.encode(cat_photo)
    path = session._path
    original = path.step

    def other(number, place, tensors, latent):  # type: ignore[no-untyped-def]
        outputs = original(number, place, tensors, latent)
        if number != 1:
            return outputs
        index = outputs.index.copy()
        at = tuple(np.argwhere((index > 2) & (index < 60) & place.coded(index))[0])
        index[at] += 1
        return dataclasses.replace(outputs, index=index)

    path.step = other  # type: ignore[method-assign]
    try:
        with pytest.raises(DesynchronisedError) as caught:
            session.decode(data)
        assert (caught.value.step, caught.value.graph) == (2, "step_01"), "the hyper-latent is step 0"
    finally:
        path.step = original  # type: ignore[method-assign]


def test_a_damaged_stream_is_refused(session: Session, cat_photo: Path) -> None:
    data = bytearray(session.encode(cat_photo))
    data[len(data) // 2] ^= 1

    with pytest.raises(StreamError):
        session.decode(bytes(data))


@pytest.mark.parametrize("name", ["graphs/step_01.onnx", "graphs/head.onnx", "tables.bin"])
def test_a_changed_byte_of_a_real_file_is_named(demo_bundle: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(demo_bundle, copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)

    with pytest.raises(AlteredFileError, match=name):
        Session.open(copy, backend="cpu")


def test_infer_leaves_stream_mask_and_overlay(
    demo_bundle: Path, cat_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(demo_bundle), str(cat_photo), "-o", str(tmp_path / "out"), "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    with Image.open(cat_photo) as photo, Image.open(tmp_path / "out/cat.mask.png") as mask:
        assert mask.mode == "P"
        assert mask.size == photo.size
    assert report["bytes"] == (tmp_path / "out/cat.ptp").stat().st_size
    assert (tmp_path / "out/cat.overlay.png").stat().st_size > 1000


def test_the_doctor_runs_the_bundle(demo_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", str(demo_bundle), "--backend", "cpu", "--json"])

    findings = {finding["subject"]: finding["status"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["bundle"] == "ok"
    assert findings["integer entropy path on cpu"] == "ok"
