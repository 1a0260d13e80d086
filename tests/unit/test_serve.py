"""The service without sockets: what it answers, what it refuses, and what it counts."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.serving import acall, binary_request, call, pocket_service

from ptp_runtime import SharedSession
from ptp_runtime.errors import DeadlineError, OverloadedError, TooLargeError, UsageError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.service.serve.catalogue import Catalogue
from ptp_runtime.service.serve.limits import Limits
from ptp_runtime.service.serve.model import ServedModel
from ptp_runtime.service.serve.service import Service
from ptp_runtime.service.serve.work import PixelBudget, Workers

BARE = {"Inference-Header-Content-Length": "0"}


def _png(height: int = 40, width: int = 60, seed: int = 0, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """All four tasks."""
    opened = pocket_service(tmp_path_factory.mktemp("service"), "seg", "det", "cls", "view")
    yield opened
    opened.close()


def _outputs(answer: Any) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {output["name"]: output for output in answer.json()["outputs"]}


def test_models_are_listed_and_described(service: Service) -> None:
    index = call(service, "POST", "/v2/repository/index").json()
    model = call(service, "GET", "/v2/models/seg_infer/versions/1").json()

    assert [entry["name"] for entry in index][:3] == ["seg_encode", "seg_decode", "seg_infer"]
    assert len(index) == 12
    assert model["inputs"][0] == {"name": "PHOTO", "datatype": "BYTES", "shape": [-1]}
    assert model["parameters"]["task"] == "seg"
    assert call(service, "GET", "/v2/health/live").json() == {"live": True}
    assert call(service, "GET", "/v2/models/seg_infer/ready").json()["ready"] is True
    assert call(service, "GET", "/v2").json()["name"] == "test"


@pytest.mark.parametrize("task", ["seg", "det", "cls", "view"])
def test_the_stream_is_the_sessions_and_every_task_answers(service: Service, task: str) -> None:
    photo = _png()
    session = service.catalogue.model(f"{task}_infer").session
    pixels = np.asarray(Image.open(io.BytesIO(photo)))

    inferred = _outputs(call(service, "POST", f"/v2/models/{task}_infer/infer", photo, BARE))
    stream = call(service, "POST", f"/v2/models/{task}_encode/infer?outputs=STREAM", photo, BARE)
    decoded = _outputs(call(service, "POST", f"/v2/models/{task}_decode/infer", stream.body, BARE))

    assert stream.body == session.encode(pixels)
    assert stream.headers["content-type"] == "application/octet-stream"
    assert base64.b64decode(inferred["STREAM"]["data"][0]) == stream.body
    assert inferred["STREAM"]["parameters"] == {"content_type": "base64"}
    del inferred["STREAM"]
    said, heard = (json.loads(one.pop("RESULT")["data"][0]) for one in (inferred, decoded))
    assert inferred == decoded
    assert said["result"] == heard["result"]
    assert said["bytes"] == len(stream.body)
    assert set(said["milliseconds"]) == {"encode", "decode"}


def test_a_batch_is_answered_in_order_and_as_binary_tensors(service: Service) -> None:
    photos = [_png(40, 60, seed) for seed in range(3)]
    body, headers = binary_request(
        "PHOTO",
        photos,
        id="seven",
        outputs=[{"name": name, "parameters": {"binary_data": True}} for name in ("MASK", "STREAM")],
    )

    answer = call(service, "POST", "/v2/models/seg_infer/infer", body, headers)

    outputs = _outputs(answer)
    assert answer.json()["id"] == "seven"
    assert outputs["MASK"]["shape"] == [3, 40, 60]
    raw = answer.body[int(answer.headers["inference-header-content-length"]) :]
    assert len(raw) == sum(output["parameters"]["binary_data_size"] for output in outputs.values())
    session = service.catalogue.model("seg_infer").session
    wanted = [session.encode(np.asarray(Image.open(io.BytesIO(photo)))) for photo in photos]
    streams = raw[3 * 40 * 60 :]
    assert streams == b"".join(len(data).to_bytes(4, "little") + data for data in wanted)
    masks = np.frombuffer(raw[: 3 * 40 * 60], np.uint8).reshape(3, 40, 60)
    assert np.array_equal(masks[2], session.decode(wanted[2]).mask)


def test_boxes_say_which_photo_they_are_of(service: Service) -> None:
    body, headers = binary_request("PHOTO", [_png(40, 60), _png(80, 50, 1)])

    outputs = _outputs(call(service, "POST", "/v2/models/det_infer/infer", body, headers))

    boxes = outputs["BOXES"]["shape"][0]
    assert boxes > 0
    assert outputs["SCORES"]["shape"] == outputs["LABELS"]["shape"] == outputs["PHOTO_INDEX"]["shape"] == [boxes]
    assert set(outputs["PHOTO_INDEX"]["data"]) <= {0, 1}


def test_an_array_is_a_photo_too(service: Service) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(_png())))
    entry = {"name": "PHOTO", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.tolist()}
    body = json.dumps({"inputs": [entry], "outputs": [{"name": "BPP"}], "parameters": {"trace": True}}).encode()

    outputs = _outputs(call(service, "POST", "/v2/models/seg_encode/infer", body))

    assert list(outputs) == ["BPP"]
    session = service.catalogue.model("seg_encode").session
    assert outputs["BPP"]["data"][0] == pytest.approx(8 * len(session.encode(pixels)) / 2400)


def test_spans_are_given_when_asked_for(service: Service) -> None:
    traced = _outputs(call(service, "POST", "/v2/models/seg_infer/infer?trace=true&outputs=RESULT,BPP", _png(), BARE))
    spans = json.loads(traced["RESULT"]["data"][0])["spans"]

    assert {span["direction"] for span in spans} == {"encode", "decode"}
    assert all(0 <= span["start"] <= span["end"] for span in spans)


def _refusal(answer: Any, status: int, kind: str) -> str:
    assert answer.status == status, answer.body
    assert answer.json()["type"] == kind
    sentence: str = answer.json()["error"]
    return sentence


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "kind"),
    [
        ("/v2/models/nobody/infer", b"", BARE, 404, "UnknownModelError"),
        ("/v2/models/seg_infer/versions/2/infer", b"", BARE, 404, "UnknownModelError"),
        ("/v2/models/seg_infer/infer", b"no photo", BARE, 400, "BrokenImageError"),
        ("/v2/models/seg_decode/infer", b"no stream", BARE, 400, "NotAStreamError"),
        ("/v2/models/seg_infer/infer", _png(mode="L"), BARE, 400, "UnsupportedImageError"),
        ("/v2/models/seg_infer/infer?rate=7", _png(), BARE, 400, "UsageError"),
        ("/v2/models/seg_infer/infer?rate=x", _png(), BARE, 400, "RequestError"),
        ("/v2/models/seg_infer/infer?rate=true", _png(), BARE, 400, "RequestError"),
        ("/v2/models/seg_infer/infer?rat=1", _png(), BARE, 400, "RequestError"),
        ("/v2/models/seg_infer/infer?outputs=BOXES", _png(), BARE, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"{", {}, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"[" * 100_000, {}, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"{}", {}, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"{}", {"Inference-Header-Content-Length": "9"}, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"{}", {"Inference-Header-Content-Length": "-1"}, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"{}", {"Content-Encoding": "gzip"}, 400, "RequestError"),
        ("/v2/models/seg_infer/infer", b"", {"Content-Length": "999999999999"}, 413, "TooLargeError"),
        ("/v2/nothing", b"", {}, 404, "RequestError"),
    ],
)
def test_wrong_requests_are_answered_with_a_sentence(
    service: Service, path: str, body: bytes, headers: dict[str, str], status: int, kind: str
) -> None:
    assert _refusal(call(service, "POST", path, body, headers), status, kind).endswith(".")


def test_another_tasks_stream_is_refused(service: Service) -> None:
    stream = call(service, "POST", "/v2/models/det_encode/infer?outputs=STREAM", _png(), BARE).body

    assert "task" in _refusal(
        call(service, "POST", "/v2/models/seg_decode/infer", stream, BARE), 400, "WrongModelError"
    )


def test_masks_of_several_sizes_have_no_shape_but_are_png_files(service: Service) -> None:
    photos = [_png(40, 60), _png(50, 70)]
    body, headers = binary_request("PHOTO", photos)
    named, named_headers = binary_request("PHOTO", photos, outputs=[{"name": "MASK_PNG"}])

    assert "MASK_PNG" in _refusal(
        call(service, "POST", "/v2/models/seg_infer/infer", body, headers), 400, "RequestError"
    )
    (output,) = _outputs(call(service, "POST", "/v2/models/seg_infer/infer", named, named_headers)).values()
    sizes = [Image.open(io.BytesIO(base64.b64decode(text))).size for text in output["data"]]
    assert sizes == [(60, 40), (70, 50)]


def test_limits_are_held(tmp_path: Path) -> None:
    service = pocket_service(tmp_path, "seg", pixels=2000, request_pixels=3000, photos=2, body_bytes=20_000)
    infer = "/v2/models/seg_infer/infer"
    try:
        many, headers = binary_request("PHOTO", [_png(8, 8)] * 3)

        assert "2000 pixels" in _refusal(call(service, "POST", infer, _png(40, 60), BARE), 413, "TooLargeError")
        together, more = binary_request("PHOTO", [_png(40, 40)] * 2)
        assert "3000 pixels" in _refusal(call(service, "POST", infer, together, more), 413, "TooLargeError")
        assert "at most 2" in _refusal(call(service, "POST", infer, many, headers), 413, "TooLargeError")
        assert call(service, "POST", infer, b"x" * 20_001, BARE).status == 413
        assert call(service, "POST", infer, b"x" * 70_000, {**BARE, "Content-Length": "1"}).status == 413
        assert call(service, "POST", infer, _png(40, 50), BARE).status == 200

        session = service.catalogue.model("seg_infer").session
        large = session.encode(np.zeros((64, 64, 3), np.uint8))
        assert "4096" in _refusal(
            call(service, "POST", "/v2/models/seg_decode/infer", large, BARE), 413, "TooLargeError"
        )
    finally:
        service.close()


def test_what_would_wait_too_long_or_behind_too_many_is_refused(tmp_path: Path) -> None:
    service = pocket_service(tmp_path, "seg", waiting=1, seconds=0.3)
    release = threading.Event()
    workers = service.workers.count

    async def scenario() -> None:
        held = [asyncio.create_task(service.workers.run([release.wait])) for _ in range(workers)]
        await asyncio.sleep(0.05)
        queued = asyncio.create_task(acall(service, "POST", "/v2/models/seg_infer/infer", _png(), BARE))
        await asyncio.sleep(0.05)
        refused = await acall(service, "POST", "/v2/models/seg_infer/infer", _png(), BARE)
        assert _refusal(refused, 503, "OverloadedError")
        assert refused.headers["retry-after"] == "1"
        assert _refusal(await queued, 504, "DeadlineError")
        release.set()
        assert [isinstance(one, DeadlineError) for one in await asyncio.gather(*held, return_exceptions=True)] == [
            True
        ] * workers
        while service.workers.waiting or service.workers.working:
            await asyncio.sleep(0.01)
        assert (await acall(service, "POST", "/v2/models/seg_infer/infer", _png(), BARE)).status == 200

    asyncio.run(scenario())
    service.close()


def test_a_stopping_service_says_so(tmp_path: Path) -> None:
    service = pocket_service(tmp_path, "seg")
    service.close()

    assert _refusal(call(service, "GET", "/v2/health/ready"), 503, "OverloadedError")
    assert _refusal(call(service, "POST", "/v2/models/seg_infer/infer", _png(), BARE), 503, "OverloadedError")
    assert call(service, "GET", "/v2/health/live").status == 200


def test_requests_are_counted_by_model_and_status(service: Service) -> None:
    before = call(service, "GET", "/metrics").body.decode()
    call(service, "POST", "/v2/models/view_infer/infer", _png(), BARE)
    call(service, "POST", "/v2/models/strangers-word/infer", _png(), BARE)
    after = call(service, "GET", "/metrics").body.decode()

    line = 'ptp_requests_total{model="view_infer",protocol="http",status="200"}'
    assert _value(after, line) == _value(before, line) + 1
    assert 'ptp_stage_seconds_count{model="view_infer",stage="decode context"}' in after
    assert "strangers-word" not in after
    assert _value(after, "ptp_waiting") == 0


def _value(text: str, start: str) -> float:
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(start + " ")), 0.0)


def test_a_fault_of_ours_is_not_explained_to_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = pocket_service(tmp_path, "seg")

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a secret of the house")

    monkeypatch.setattr(ServedModel, "plan", broken)
    answer = call(service, "POST", "/v2/models/seg_infer/infer", _png(), BARE)
    service.close()

    assert "secret" not in _refusal(answer, 500, "InternalError")
    assert "a secret of the house" in caplog.text


def test_two_bundles_of_a_task_need_names(tmp_path: Path) -> None:
    first, second = (
        SharedSession.open(write_pocket_bundle(tmp_path / name), backend=PocketBackend()) for name in ("one", "two")
    )

    with pytest.raises(UsageError, match="seg_encode"):
        Catalogue({"": [first, second]})
    named = [model.name for model in Catalogue({"street": [first], "indoor": [second]})]
    assert named[0] == "street_seg_encode"
    assert named[-1] == "indoor_seg_infer"
    with pytest.raises(UsageError, match="name"):
        Catalogue.open([f"no_name={tmp_path / 'one'}"], backend=PocketBackend())


def test_a_large_photo_is_not_starved_by_small_ones() -> None:
    budget = PixelBudget(10)
    order: list[int] = []
    began = threading.Event()

    def take(pixels: int) -> None:
        with budget.take(pixels, "it"):
            order.append(pixels)

    with budget.take(5, "it"):
        large = threading.Thread(target=lambda: (began.set(), take(10)))
        large.start()
        began.wait()
        time.sleep(0.05)
        small = threading.Thread(target=take, args=(1,))
        small.start()
        time.sleep(0.05)
        assert order == []
    large.join()
    small.join()

    assert order == [10, 1]
    with pytest.raises(TooLargeError), budget.take(11, "it"):
        pass


def test_a_queue_ends_somewhere() -> None:
    workers = Workers(1, Limits(waiting=1))

    async def scenario() -> None:
        with pytest.raises(OverloadedError):
            await workers.run([lambda: 0] * 3)
        assert await workers.run([lambda: 1, lambda: 2]) == [1, 2]

    asyncio.run(scenario())
    workers.close()
