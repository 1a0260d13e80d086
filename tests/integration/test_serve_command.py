"""``ptp serve`` as a process, asked by clients that are not ours: tritonclient, curl, and a browser."""

from __future__ import annotations

import base64
import gc
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptp_runtime import Session, load_image

grpc_client = pytest.importorskip("tritonclient.grpc")
http_client = pytest.importorskip("tritonclient.http")


@dataclass
class _Served:
    """A service that runs."""

    process: subprocess.Popen[str]
    http: str
    grpc: str


def _start(bundle: Path, *options: str) -> _Served:
    command = [sys.executable, "-m", "ptp_runtime", "serve", str(bundle), "--port", "0", "--grpc-port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    while "grpc://" not in text:
        line = process.stdout.readline()
        assert line, (text, process.stderr.read() if process.stderr else "")
        text += line
    http, grpc = (re.search(rf"{name}://([\d.:]+)", text) for name in ("http", "grpc"))
    assert http is not None
    assert grpc is not None
    return _Served(process, http[1], grpc[1])


def _stop(served: _Served) -> tuple[int, str, str]:
    served.process.send_signal(signal.SIGTERM)
    out, error = served.process.communicate(timeout=60)
    return served.process.returncode, out, error


@pytest.fixture(scope="module")
def served(demo_bundle: Path) -> Iterator[_Served]:
    """The demo behind free ports."""
    running = _start(demo_bundle)
    yield running
    code, out, error = _stop(running)
    assert (code, "stopped" in out, error) == (0, True, "")


@pytest.fixture(scope="module")
def expected(demo_bundle: Path, cat_photo: Path) -> tuple[bytes, Any]:
    """Stream and mask of the cat by a session of our own, at the lowest rate."""
    with Session.open(demo_bundle, profile="throughput") as session:
        data = session.encode(cat_photo, rate=0)
        return data, session.decode(data).mask


def _bytes_input(client: Any, name: str, elements: list[bytes]) -> Any:
    made = client.InferInput(name, [len(elements)], "BYTES")
    made.set_data_from_numpy(np.array(elements, object))
    return made


def test_triton_clients_get_the_sessions_stream_and_mask(
    served: _Served, cat_photo: Path, expected: tuple[bytes, Any]
) -> None:
    photo = cat_photo.read_bytes()
    compared = 0
    for client, address in ((http_client, served.http), (grpc_client, served.grpc)):
        with client.InferenceServerClient(address) as server:
            assert server.is_server_live()
            assert server.is_server_ready()
            assert server.is_model_ready("seg_infer")
            assert server.get_model_metadata("seg_infer")
            rate = client.InferInput("RATE", [1], "INT32")
            rate.set_data_from_numpy(np.array([0], np.int32))
            coded = server.infer("seg_encode", [_bytes_input(client, "PHOTO", [photo, photo]), rate])
            streams = coded.as_numpy("STREAM")
            assert [bytes(stream) for stream in streams] == [expected[0]] * 2
            decoded = server.infer("seg_decode", [_bytes_input(client, "STREAM", [expected[0]])])
            assert np.array_equal(decoded.as_numpy("MASK")[0], expected[1])
            compared += 1

    assert compared == 2


def test_an_array_and_a_parameter_over_both_protocols(
    served: _Served, cat_photo: Path, expected: tuple[bytes, Any]
) -> None:
    pixels = load_image(cat_photo)
    found = []
    for client, address in ((http_client, served.http), (grpc_client, served.grpc)):
        with client.InferenceServerClient(address) as server:
            photo = client.InferInput("PHOTO", list(pixels.shape), "UINT8")
            photo.set_data_from_numpy(pixels)
            outputs = [client.InferRequestedOutput("STREAM")]
            answer = server.infer("seg_infer", [photo], outputs=outputs, parameters={"rate": 0})
            found.append(bytes(answer.as_numpy("STREAM")[0]))
            assert answer.as_numpy("MASK") is None

    assert found == [expected[0]] * 2


def test_errors_reach_the_clients(served: _Served) -> None:
    from tritonclient.utils import InferenceServerException

    for client, address in ((http_client, served.http), (grpc_client, served.grpc)):
        with client.InferenceServerClient(address) as server:
            for model, name, sentence in (
                ("seg_infer", "PHOTO", "not an image"),
                ("seg_decode", "STREAM", "no ptp stream"),
                ("nobody", "PHOTO", "no model"),
            ):
                with pytest.raises(InferenceServerException, match=sentence):
                    server.infer(model, [_bytes_input(client, name, [b"neither"])])


def _curl(*arguments: str) -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["curl", "-sS", "--fail-with-body", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[:500]
    return done.stdout


def test_curl_sends_a_photo_and_gets_the_bare_stream(
    served: _Served, cat_photo: Path, expected: tuple[bytes, Any], tmp_path: Path
) -> None:
    bare = ("-H", "Inference-Header-Content-Length: 0", "--data-binary")
    stream = _curl(*bare, f"@{cat_photo}", f"http://{served.http}/v2/models/seg_encode/infer?outputs=STREAM&rate=0")
    (tmp_path / "cat.ptp").write_bytes(stream)
    url = f"http://{served.http}/v2/models/seg_decode/infer?outputs=MASK_PNG"
    (tmp_path / "cat.png").write_bytes(_curl(*bare, f"@{tmp_path / 'cat.ptp'}", url))

    assert stream == expected[0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "cat.png")), expected[1])


def _base64_input(photos: list[bytes]) -> dict[str, Any]:
    texts = [base64.b64encode(photo).decode() for photo in photos]
    return {
        "name": "PHOTO",
        "datatype": "BYTES",
        "shape": [len(texts)],
        "data": texts,
        "parameters": {"content_type": "base64"},
    }


def test_curl_sends_plain_json(served: _Served, cat_photo: Path, tmp_path: Path) -> None:
    entry = _base64_input([cat_photo.read_bytes()])
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [entry], "outputs": [{"name": "RESULT"}]}))

    answer = json.loads(_curl("-d", f"@{tmp_path / 'request.json'}", f"http://{served.http}/v2/models/seg_infer/infer"))

    assert "cat" in json.loads(answer["outputs"][0]["data"][0])["result"]["shares"]
    assert b'ptp_photos_total{model="seg_infer"}' in _curl(f"http://{served.http}/metrics")


def _wait_for_work(served: _Served, pieces: int) -> None:
    """Until so many photos wait or are worked on."""
    for _ in range(600):
        with urllib.request.urlopen(f"http://{served.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        figures = dict(
            line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(("ptp_waiting", "ptp_working"))
        )
        if sum(map(float, figures.values())) >= pieces:
            return
        time.sleep(0.01)
    raise AssertionError(f"{pieces} photos never came in: {figures}")


def test_what_has_begun_is_finished_after_sigterm(demo_bundle: Path, cat_photo: Path) -> None:
    gc.collect()  # clients over HTTP that other tests left cannot be closed by the threads of this one
    running = _start(demo_bundle)
    photo, answers = cat_photo.read_bytes(), []

    def ask_over_grpc() -> None:
        with grpc_client.InferenceServerClient(running.grpc) as server:
            done = server.infer("seg_infer", [_bytes_input(grpc_client, "PHOTO", [photo] * 6)])
            answers.append(len(done.as_numpy("STREAM")))

    def ask_over_http() -> None:
        body = json.dumps({"inputs": [_base64_input([photo] * 6)], "outputs": [{"name": "STREAM"}]}).encode()
        with urllib.request.urlopen(f"http://{running.http}/v2/models/seg_infer/infer", body, timeout=120) as answer:
            answers.append(len(json.load(answer)["outputs"][0]["data"]))

    asking = [threading.Thread(target=ask) for ask in (ask_over_grpc, ask_over_http)]
    for thread in asking:
        thread.start()
    _wait_for_work(running, 12)
    code, out, error = _stop(running)
    for thread in asking:
        thread.join()

    assert answers == [6, 6]
    assert (code, error) == (0, "")
    assert out.endswith("stopped\n")


def test_a_port_that_is_taken_is_named(demo_bundle: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "ptp_runtime", "serve", str(demo_bundle), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser: chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "disable-dev-shm-usage", f"user-data-dir={tmp_path / 'profile'}"),
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def test_a_photo_is_dropped_on_the_page(served: _Served, browser: Any, cat_photo: Path, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    def text(name: str) -> str:
        found: str = browser.execute_script("return document.getElementById(arguments[0]).textContent", name)
        return found

    def give(path: Path) -> None:
        browser.find_element("id", "file").send_keys(str(path))

    wait = WebDriverWait(browser, 60)
    browser.get(f"http://{served.http}/")
    wait.until(lambda _: "Task seg" in text("about"))
    give(cat_photo)
    wait.until(lambda _: "Drop another" in text("drop-text"))

    with_mask = browser.execute_script(_RED, 100)
    without = browser.execute_script(_RED, 0)
    assert "bytes of the stream" in text("facts")
    assert "cat 9" in text("legend")
    assert {"encode analysis", "decode synthesis"} <= set(
        browser.execute_script("return [...document.querySelectorAll('svg text')].map((one) => one.textContent)")
    )
    assert with_mask > without + 20, "the mask of the cat is red, and tints the photo"

    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

    (tmp_path / "words.jpg").write_bytes(b"no photo at all")
    give(tmp_path / "words.jpg")
    wait.until(lambda _: "is not an image" in text("error"))


# The mean redness of the canvas with the result drawn this strongly.
_RED = """
const strength = document.getElementById("strength");
strength.value = arguments[0];
strength.dispatchEvent(new Event("input"));
const canvas = document.getElementById("canvas");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let sum = 0;
for (let i = 0; i < data.length; i += 4) sum += data[i] - (data[i + 1] + data[i + 2]) / 2;
return sum / (data.length / 4);
"""
