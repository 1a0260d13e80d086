"""A model repository, loaded and asked in a real Triton: the one that PyTriton brings, or the system's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptp_runtime import Session
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import MissingExtraError, UntrustedBundleError, UsageError
from ptp_runtime.service.triton.repository import Layout, write_repository
from ptp_runtime.service.triton.server import Ports, triton_command

grpc_client = pytest.importorskip("tritonclient.grpc")

# A graph's model where Triton has no onnxruntime backend: the same ONNX file by the Python backend. Only tests do this.
_BY_PYTHON = """
import onnxruntime, triton_python_backend_utils as pb_utils
from pathlib import Path

class TritonPythonModel:
    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

    def execute(self, requests):
        names = [output.name for output in self.session.get_outputs()]
        answers = []
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            outputs = self.session.run(names, inputs)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(*pair) for pair in zip(names, outputs)]))
        return answers
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])


@pytest.fixture(scope="module")
def repository(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo twice: sessions that run all graphs, and models that are asked for graphs."""
    folder = tmp_path_factory.mktemp("triton")
    write_repository(demo_bundle, folder / "models", Layout(operations=("encode", "decode")))
    layout = Layout(operations=("infer",), graphs="onnxruntime", prefix="asked")
    for name in write_repository(demo_bundle, folder / "asked", layout):
        shutil.move(folder / "asked" / name, folder / "models" / name)
        config = folder / "models" / name / "config.pbtxt"
        if 'backend: "onnxruntime"' in config.read_text():
            config.write_text(config.read_text().replace('backend: "onnxruntime"', 'backend: "python"'))
            (folder / "models" / name / "1" / "model.py").write_text(_BY_PYTHON)
    return folder / "models"


@pytest.fixture(scope="module")
def client(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a Triton that serves the repository."""
    work = tmp_path_factory.mktemp("work")
    http, grpc, metrics = _free_ports(3)
    try:
        command, environment = triton_command(repository, work, Ports("127.0.0.1", http, grpc, metrics), os.environ)
    except MissingExtraError as error:
        pytest.skip(str(error))
    log = work / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait(process, http, log)
        with grpc_client.InferenceServerClient(f"127.0.0.1:{grpc}") as opened:
            yield opened
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]


def _input(name: str, elements: list[bytes]) -> Any:
    made = grpc_client.InferInput(name, [len(elements)], "BYTES")
    made.set_data_from_numpy(np.array(elements, object))
    return made


def test_triton_gives_the_sessions_streams_and_masks(client: Any, demo_bundle: Path, cat_photo: Path) -> None:
    with Session.open(demo_bundle) as session:
        wanted = session.encode(cat_photo, rate=1)
        mask = session.decode(wanted).mask
    photo = cat_photo.read_bytes()

    coded = client.infer("seg_encode", [_input("PHOTO", [photo, photo])], parameters={"rate": 1})
    decoded = client.infer("seg_decode", [_input("STREAM", [wanted])])

    assert [bytes(stream) for stream in coded.as_numpy("STREAM")] == [wanted] * 2
    assert np.array_equal(decoded.as_numpy("MASK")[0], mask)
    assert decoded.as_numpy("MASK_PNG") is None


def test_graphs_can_be_models_of_their_own(client: Any, demo_bundle: Path, cat_photo: Path) -> None:
    with Session.open(demo_bundle) as session:
        result = session.infer(cat_photo, rate=0)
    rate = grpc_client.InferInput("RATE", [1], "INT32")
    rate.set_data_from_numpy(np.array([0], np.int32))

    answer = client.infer("asked_seg_infer", [_input("PHOTO", [cat_photo.read_bytes()]), rate])

    assert bytes(answer.as_numpy("STREAM")[0]) == result.data
    assert np.mean(answer.as_numpy("MASK")[0] != result.output.mask) < 1e-3
    statistics = client.get_inference_statistics("asked_seg_graph_analysis").model_stats[0]
    assert statistics.inference_count == 1


def test_wrong_input_is_an_error_of_the_client(client: Any) -> None:
    from tritonclient.utils import InferenceServerException

    for model, name, sentence in (("seg_encode", "PHOTO", "not an image"), ("seg_decode", "STREAM", "no ptp stream")):
        with pytest.raises(InferenceServerException, match=sentence) as caught:
            client.infer(model, [_input(name, [b"neither"])])
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_serve_hands_over_to_triton(demo_bundle: Path, cat_photo: Path, tmp_path: Path, client: Any) -> None:
    del client  # only its reason to skip
    http, grpc, metrics = map(str, _free_ports(3))
    command = [sys.executable, "-m", "ptp_runtime", "serve", f"one={demo_bundle}", "--triton", "--port", http]
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--grpc-port", grpc, "--metrics-port", metrics], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, int(http), log)
        with grpc_client.InferenceServerClient(f"127.0.0.1:{grpc}") as opened:
            answer = opened.infer("one_seg_infer", [_input("PHOTO", [cat_photo.read_bytes()])])
            assert answer.as_numpy("MASK").shape == (1, 300, 451)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]


def test_every_config_is_one_that_triton_reads(repository: Path) -> None:
    text_format = pytest.importorskip("google.protobuf.text_format")
    config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    read = {
        path.parent.name: text_format.Parse(path.read_text(), config.ModelConfig())
        for path in sorted(repository.glob("*/config.pbtxt"))
    }

    assert set(read) == {
        "seg_encode",
        "seg_decode",
        "asked_seg_infer",
        *(f"asked_seg_graph_{role}" for role in ("analysis", "synthesis", "head")),
    }
    assert all(name == one.name for name, one in read.items())
    assert next(one.dims for one in read["asked_seg_graph_analysis"].input) == [1, 3, -1, -1]
    assert read["asked_seg_infer"].parameters["graphs"].string_value == "asked_"


def test_each_model_has_its_side_of_the_bundle(repository: Path) -> None:
    sides = {
        name: Bundle.open(repository / name / "1" / "bundle").manifest.side for name in ("seg_encode", "seg_decode")
    }

    assert sides == {"seg_encode": "encoder", "seg_decode": "decoder"}


def test_what_cannot_be_exported_is_refused(demo_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no TensorRT engine"):
        write_repository(demo_bundle, tmp_path / "models", Layout(graphs="tensorrt"))
    with pytest.raises(UntrustedBundleError):
        write_repository(demo_bundle, tmp_path / "models", Layout(trust="0" * 64))
    with pytest.raises(UsageError, match="operation"):
        Layout(operations=("transcode",))
    assert list(tmp_path.iterdir()) == []
