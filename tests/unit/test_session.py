"""A session on the pocket model: what it gives, and what it refuses."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ptp_runtime import Session
from ptp_runtime.backends import Arrays
from ptp_runtime.bitstream import read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import (
    EngineError,
    NotAStreamError,
    TaskNotAvailableError,
    UnsupportedImageError,
    UsageError,
    WrongModelError,
)
from ptp_runtime.manifest import CentreCrop, GraphEntry, Resize, TensorInfo
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.tasks import Classification, Detections, Segmentation, View

pytestmark = pytest.mark.runtime


def _photo(height: int = 70, width: int = 100, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Segmentation with the checkerboard context."""
    with Session.open(write_pocket_bundle(tmp_path / "bundle"), backend=PocketBackend()) as opened:
        yield opened


def _open(tmp_path: Path, name: str = "other", **options: Any) -> Session:
    return Session.open(write_pocket_bundle(tmp_path / name, **options), backend=PocketBackend())


def test_each_task_gives_its_result(tmp_path: Path) -> None:
    seg, det, cls, view = (_open(tmp_path, task, task=task) for task in ("seg", "det", "cls", "view"))

    mask, boxes, answer, picture = (session.decode(session.encode(_photo())) for session in (seg, det, cls, view))

    assert isinstance(mask, Segmentation)
    assert mask.mask.shape == (70, 100)
    assert isinstance(boxes, Detections)
    assert boxes.boxes.max() <= 100
    assert isinstance(answer, Classification)
    assert len(answer.names) == 3
    assert answer.probabilities.sum() == pytest.approx(1)
    assert isinstance(picture, View)
    assert picture.image.shape == (70, 100, 3)


def test_a_path_and_its_pixels_give_the_same_stream(session: Session, tmp_path: Path) -> None:
    Image.fromarray(_photo()).save(tmp_path / "photo.png")

    assert session.encode(tmp_path / "photo.png") == session.encode(_photo())
    assert session.encode(str(tmp_path / "photo.png")) == session.encode(_photo())


def test_encoding_is_deterministic(session: Session) -> None:
    assert session.encode(_photo()) == session.encode(_photo())


def test_infer_decodes_its_own_stream(session: Session) -> None:
    result = session.infer(_photo())

    assert result.data == session.encode(_photo())
    assert isinstance(result.output, Segmentation)
    assert np.array_equal(result.output.mask, session.decode(result.data).mask)


def test_the_rate_counts_every_byte_over_the_photos_pixels(session: Session) -> None:
    encoded = session.encode_detailed(_photo())

    assert encoded.rate.size_bytes == len(encoded.data)
    assert encoded.rate.bits_per_pixel == 8 * len(encoded.data) / (70 * 100)
    assert "100×70 pixels of the photo" in encoded.rate.sentence()


def test_every_stage_is_timed(session: Session) -> None:
    encoded = session.encode_detailed(_photo())
    decoded = session.decode_detailed(encoded.data)

    assert set(encoded.milliseconds) == {"image", "analysis", "hyper", "context", "coder"}
    assert set(decoded.milliseconds) == {"hyper", "context", "coder", "synthesis", "head", "postprocess"}
    assert all(value >= 0 for value in {**encoded.milliseconds, **decoded.milliseconds}.values())


def test_the_details_hold_every_tensor(session: Session) -> None:
    encoded = session.encode_detailed(_photo())
    decoded = session.decode_detailed(encoded.data)

    assert set(encoded.tensors) == {"y", "z", "mu_hyper", "scale_hyper"}
    assert set(decoded.tensors) == {"mu_hyper", "scale_hyper", "h", "logits"}
    assert decoded.tensors["h"].shape[2:] == (18, 25)
    assert len(encoded.latents.steps) == len(session.manifest.entropy.schedule)


def test_steps_are_kept_only_where_they_are_wanted(session: Session) -> None:
    encoded = session.encode_detailed(_photo(), keep_steps=False)
    decoded = session.decode_detailed(encoded.data, keep_steps=False)

    assert encoded.latents.steps == decoded.latents.steps == ()
    assert np.array_equal(encoded.latents.y_int, decoded.latents.y_int)


def test_skipped_and_silent_symbols_are_zero(session: Session) -> None:
    steps = session.encode_detailed(_photo(200, 200)).latents.steps
    skipped = sum(int(np.count_nonzero(step.index < 2)) for step in steps)

    assert skipped > 0
    assert all(not step.symbols[step.index < 2].any() for step in steps)
    assert max(int(np.abs(step.symbols).max()) for step in steps) > 10_000, "no escape was coded"


def test_the_header_says_what_was_coded(session: Session) -> None:
    header = read_header(session.encode(_photo()))

    assert (header.width, header.height, header.task) == (100, 70, 1)
    assert header.identity.hex() == session.manifest.entropy.identity[:8]
    assert header.float_entropy
    assert header.steps == 4


def test_a_stream_of_another_model_is_refused(session: Session, tmp_path: Path) -> None:
    other = _open(tmp_path, context="zigzag")

    with pytest.raises(WrongModelError):
        session.decode(other.encode(_photo()))


def test_a_stream_of_another_task_is_refused(session: Session, tmp_path: Path) -> None:
    other = _open(tmp_path, task="det")

    with pytest.raises(WrongModelError):
        session.decode(other.encode(_photo()))


def test_a_size_outside_the_export_is_refused(tmp_path: Path) -> None:
    session = _open(tmp_path, height=(64, 128), width=(128, 128))

    assert isinstance(session.decode(session.encode(_photo(128, 128))), Segmentation)
    for height, width in ((129, 128), (64, 64), (64, 129)):
        with pytest.raises(UsageError, match="exported for other sizes"):
            session.encode(_photo(height, width))


def test_a_stream_of_a_size_outside_the_export_is_refused(session: Session, tmp_path: Path) -> None:
    """Same entropy path, so the identity agrees; the graphs still cannot take it."""
    small = _open(tmp_path, height=(64, 64), width=(64, 64))
    assert small.manifest.entropy.identity == session.manifest.entropy.identity

    with pytest.raises(UsageError, match="exported for other sizes"):
        small.decode(session.encode(_photo()))


def test_a_head_for_one_size_takes_no_other_photo(session: Session) -> None:
    """Two photos that pad to the same size have features of different sizes."""
    graphs = tuple(
        dataclasses.replace(g, inputs=(TensorInfo("h", "float32", (1, 6, 18, 25)),)) if g.role == "head" else g
        for g in session.manifest.graphs
    )
    fixed = dataclasses.replace(session.bundle, manifest=dataclasses.replace(session.manifest, graphs=graphs))
    with Session.open(fixed, backend=PocketBackend()) as other:
        data = other.encode(_photo(70, 100))
        assert isinstance(other.decode(data), Segmentation)
        with pytest.raises(UsageError, match="one size of photo"):
            other.encode(_photo(74, 100))
        with pytest.raises(UsageError, match="one size of photo"):
            other.decode(session.encode(_photo(70, 104)))


def test_an_image_of_another_kind_is_refused(session: Session) -> None:
    with pytest.raises(UnsupportedImageError):
        session.encode(np.zeros((8, 8), np.uint8))


def test_a_task_that_the_bundle_lacks_is_named(tmp_path: Path) -> None:
    bundle = write_pocket_bundle(tmp_path / "bundle", task="det")

    Session.open(bundle, backend=PocketBackend(), task="det").close()
    with pytest.raises(TaskNotAvailableError, match="expected 'det'; got 'seg'"):
        Session.open(bundle, backend=PocketBackend(), task="seg")


@pytest.mark.parametrize("data", ["photo.ptp", None, [1, 2], Path("photo.ptp")], ids=str)
def test_what_is_no_bytes_is_no_stream(session: Session, data: Any) -> None:
    with pytest.raises(NotAStreamError, match="no bytes"):
        session.decode(data)


def test_a_view_of_bytes_is_a_stream(session: Session) -> None:
    data = session.encode(_photo())

    for same in (bytearray(data), memoryview(data)):
        assert isinstance(session.decode(same), Segmentation)  # type: ignore[arg-type]


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    session = _open(tmp_path)
    data = session.encode(_photo())
    session.close()
    session.close()

    with pytest.raises(UsageError, match="closed"):
        session.encode(_photo())
    with pytest.raises(UsageError, match="closed"):
        session.decode(data)


def test_a_declared_resize_is_undone_and_both_rates_are_told(tmp_path: Path) -> None:
    resize = Resize(shorter_side=64, longer_side=96)
    for task in ("seg", "det", "view"):
        session = _open(tmp_path, task, task=task, resize=resize)

        encoded = session.encode_detailed(_photo(140, 200))
        output = session.decode(encoded.data)

        header = read_header(encoded.data)
        assert (header.height, header.width) == (64, 91)
        assert (header.original_height, header.original_width) == (140, 200)
        assert encoded.rate.bits_per_pixel == 8 * len(encoded.data) / (64 * 91)
        assert encoded.rate.bits_per_original_pixel == 8 * len(encoded.data) / (140 * 200)
        assert "91×64 pixels that were coded" in encoded.rate.sentence()
        assert "200×140 pixels of the photo" in encoded.rate.sentence()
        if isinstance(output, Segmentation):
            assert output.mask.shape == (140, 200)
        elif isinstance(output, View):
            assert output.image.shape == (140, 200, 3)
        else:
            assert isinstance(output, Detections)
            assert 91 < output.boxes[:, 2].max() <= 200


@pytest.mark.parametrize("size", [(140, 200), (224, 224), (64, 4000), (1, 1)])
def test_a_declared_crop_makes_every_photo_as_large_as_every_other(tmp_path: Path, size: tuple[int, int]) -> None:
    resize = CentreCrop(shorter_side=80, crop=70)
    session = _open(tmp_path, task="cls", resize=resize, height=(128, 128), width=(128, 128))

    encoded = session.encode_detailed(_photo(*size))
    answer = session.decode(encoded.data)

    header = read_header(encoded.data)
    assert (header.height, header.width) == (70, 70)
    assert (header.original_height, header.original_width) == size
    assert encoded.rate.bits_per_pixel == 8 * len(encoded.data) / (70 * 70)
    assert isinstance(answer, Classification)


def test_a_photo_of_the_crops_own_size_is_scaled_and_cropped_too(tmp_path: Path) -> None:
    session, plain = (
        _open(tmp_path, name, task="cls", resize=resize) for name, resize in (("a", CentreCrop(90, 80)), ("b", None))
    )
    data, whole = session.encode(_photo(80, 80)), plain.encode(_photo(80, 80))
    assert data != whole
    header = read_header(data)
    assert not header.resized, "the header only says sizes, and those are the same"
    assert isinstance(session.decode(data), Classification)


def test_threads_share_a_session(session: Session) -> None:
    photos = [_photo(30 + 20 * i, 90, seed=i) for i in range(4)]
    alone = [session.encode(photo) for photo in photos]
    results: dict[int, bytes] = {}

    def work(i: int) -> None:
        for _ in range(5):
            results[i] = session.encode(photos[i])
            session.decode(results[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [results[i] for i in range(4)] == alone


class _Spoiled(PocketBackend):
    """A backend one of whose graphs misbehaves."""

    def __init__(self, graph: str, spoil: Any) -> None:
        super().__init__()
        self._graph = graph
        self._spoil = spoil

    def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
        loaded = super().load(bundle, graph)
        if graph.name == self._graph:
            run, spoil = loaded.run, self._spoil

            def spoiled(inputs: Arrays) -> dict[str, Any]:
                return dict(spoil(run(inputs)))

            loaded.run = spoiled  # type: ignore[method-assign]
        return loaded


SPOILS = {
    "y is NaN": ("analysis", lambda out: {**out, "y": out["y"] * np.float32("nan")}, "y is not finite"),
    "z is infinite": ("analysis", lambda out: {**out, "z": out["z"] + np.float32("inf")}, "z is not finite"),
    "y has another shape": ("analysis", lambda out: {**out, "y": out["y"][:, 1:]}, "y has another shape"),
    "z has another dtype": (
        "analysis",
        lambda out: {**out, "z": out["z"].astype("f8")},
        "z has another shape or dtype",
    ),
    "no z": ("analysis", lambda out: {"y": out["y"]}, "gave no output 'z'"),
    "index of another dtype": (
        "step_01",
        lambda out: {**out, "index": out["index"].astype("i4")},
        "index of 'step_01'",
    ),
    "index without a table": ("step_01", lambda out: {**out, "index": out["index"] + np.uint8(64)}, "does not exist"),
    "mean of another shape": ("step_02", lambda out: {**out, "mean": out["mean"][..., 1:]}, "mean of 'step_02'"),
    "logits are NaN": ("head", lambda out: {"logits": out["logits"] * np.float32("nan")}, "'logits' is not finite"),
    "h has another shape": ("synthesis", lambda out: {"h": out["h"][:, 1:]}, "feature h"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_graph_that_misbehaves_is_caught(tmp_path: Path, name: str) -> None:
    graph, spoil, message = SPOILS[name]
    folder = write_pocket_bundle(tmp_path / "bundle")
    data = Session.open(folder, backend=PocketBackend()).encode(_photo())
    session = Session.open(folder, backend=_Spoiled(graph, spoil))

    run = (lambda: session.decode(data)) if graph in ("synthesis", "head") else (lambda: session.encode(_photo()))

    with pytest.raises(EngineError, match=message):
        run()


def test_threads_that_encode_and_decode_at_once_get_what_one_alone_gets(session: Session) -> None:
    photos = [_photo(60 + 3 * k, 90 - 5 * k) for k in range(6)]
    streams = [session.encode(photo) for photo in photos]
    outputs = [session.decode(data) for data in streams]
    wrong: list[int] = []

    def work(number: int) -> None:
        for k in range(12):
            which = (number + k) % len(photos)
            if (number + k) % 2 and session.encode(photos[which]) != streams[which]:
                wrong.append(which)
            if repr(session.decode(streams[which])) != repr(outputs[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
