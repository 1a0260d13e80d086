"""Whole streams decoded between device graphs, the kernels on the CPU, against the session that decodes on the host."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptp_runtime import Session, device_decoder
from ptp_runtime.backends import BackendChoice, DeviceTensor, LoadedGraphs
from ptp_runtime.backends.device_graphs import all_on_device, on_device
from ptp_runtime.backends.engine_backend import EngineBackend
from ptp_runtime.backends.engine_profile import ProfiledGraph
from ptp_runtime.backends.fallback_graph import FallbackGraph
from ptp_runtime.backends.prompted_graph import PromptedGraph
from ptp_runtime.bitstream.header import split_stream
from ptp_runtime.coder import Parity
from ptp_runtime.coder_gpu.batch_decoder import DECODER
from ptp_runtime.device_decoder import device_decoder_of
from ptp_runtime.entropy_path import Place, means_witness
from ptp_runtime.errors import (
    BackendNotAvailableError,
    CorruptStreamError,
    DesynchronisedError,
    EngineError,
    UsageError,
)

pytestmark = pytest.mark.runtime

STREAMS = Path(__file__).parents[1] / "golden" / "streams"
CASES = sorted(path.relative_to(STREAMS).as_posix() for path in STREAMS.glob("*/*.ptp"))


class HostGraph:
    """A graph of ONNX Runtime that takes and gives device memory, which here is the host's."""

    def __init__(self, graph: Any, wide: bool) -> None:
        self.graph, self.wide, self.is_held, self.fails = graph, wide, False, False
        self.provider, self.close = graph.provider, graph.close
        self.outputs: dict[str, Any] = {}

    def run(self, inputs: Any) -> Any:
        return self.graph.run(inputs)

    @contextmanager
    def held(self) -> Iterator[None]:
        assert not self.is_held
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False

    def run_on_device(self, inputs: Any) -> dict[str, DeviceTensor]:
        assert self.is_held
        if self.fails:
            raise EngineError("the engine failed")
        arrays = {name: _seen(value) if isinstance(value, DeviceTensor) else value for name, value in inputs.items()}
        self.outputs = {name: self._widened(array) for name, array in self.graph.run(arrays).items()}
        return {name: DeviceTensor(a.ctypes.data, a.shape, a.dtype) for name, a in self.outputs.items()}

    def _widened(self, array: Any) -> Any:
        """TensorRT for RTX has no 16-bit integers."""
        return np.ascontiguousarray(array, np.int32 if self.wide and array.dtype == np.int16 else array.dtype)


def _seen(tensor: DeviceTensor) -> Any:
    size = int(np.prod(tensor.shape)) * tensor.dtype.itemsize
    return np.frombuffer(ctypes.string_at(tensor.address, size), tensor.dtype).reshape(tensor.shape)


def _engines(session: Session, wide: bool) -> dict[str, Any]:
    """The session's graphs as if they were engines; a prompt stays around its graph."""
    return {
        name: PromptedGraph(HostGraph(graph.shared, wide), graph.prompt)
        if isinstance(graph, PromptedGraph)
        else HostGraph(graph, wide)
        for name, graph in session.graphs.by_name.items()
    }


@pytest.fixture
def moved(device: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a session decode on the device of fibres."""
    backend = object.__new__(EngineBackend)
    backend.device = None  # type: ignore[assignment]
    monkeypatch.setattr(device_decoder, "CudaDevice", lambda _: device)

    def move(session: Session, wide: bool = True) -> dict[str, Any]:
        graphs = _engines(session, wide)
        choice = BackendChoice(backend, session.backend.entropy, "for the test")
        session._graphs = LoadedGraphs(graphs, choice)
        session.decode_on_device()
        return graphs

    return move


def test_there_are_streams_to_compare() -> None:
    assert len(CASES) >= 12


@pytest.mark.parametrize("case", CASES)
def test_a_stream_gives_what_it_gives_on_the_host(case: str, device: Any, moved: Any) -> None:
    data = (STREAMS / case).read_bytes()
    with Session.open((STREAMS / case).parent / "bundle", backend="cpu", threads=1) as session:
        wanted = session.decode_detailed(data)
        before = len(device.arrays)
        graphs = moved(session, wide="zigzag" not in case)
        owned = len(device.arrays)
        device.downloads.clear()
        calls = [session.decode(data) for _ in range(2)]

        assert len(device.arrays) == owned, "what a photo took is given back"
    assert len(device.arrays) == before

    head = graphs["head"].outputs
    assert head
    for name, array in head.items():
        assert np.array_equal(array, wanted.tensors[name]), name
    for output in calls:
        assert type(output) is type(wanted.output)
    small = DECODER.itemsize + 4 * (2 * len(wanted.latents.steps) + 1)
    heads = sum(array.nbytes for array in head.values())
    assert sum(device.downloads) == 2 * (heads + small), "outputs, and of the stream its end, hashes and witnesses"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5), st.integers(1, 9), st.integers(1, 40), st.sampled_from(list(Parity)), st.booleans())
def test_the_witness_of_means_is_the_hosts(
    device: Any, channels: int, rows: int, columns: int, parity: Parity, wide: bool
) -> None:
    shape = (channels, 2 * rows, 2 * columns)
    mean = np.random.default_rng(rows + 10 * columns).integers(-32768, 32768, shape).astype(np.int16)
    work = device_decoder._Work(device)
    seal = device_decoder._Seal(work, 3)
    place = Place(slice(0, channels), slice(0, shape[1]), slice(0, shape[2]), parity)
    values = mean.astype(np.int32) if wide else mean

    handle = device.upload(values)
    seal.take(1, DeviceTensor(handle, (1, *shape), values.dtype), place)

    assert seal.witnesses().tolist() == [[0, means_witness(mean, place), 0]]
    device.free(handle)
    work.close()


def _open(name: str = "checkerboard") -> tuple[Session, bytes]:
    data = (STREAMS / name / "cat-128x192-rate0.ptp").read_bytes()
    return Session.open(STREAMS / name / "bundle", backend="cpu", threads=1), data


def test_inference_takes_the_same_way(moved: Any) -> None:
    session, _ = _open()
    with session:
        moved(session)
        photo = np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)
        result = session.infer(photo)

    assert {"hyper", "context", "coder", "synthesis", "head", "postprocess"} <= set(result.decode_milliseconds)


def test_an_engine_that_differs_is_noticed_and_named(moved: Any) -> None:
    session, data = _open()
    with session:
        graphs = moved(session)
        step = graphs["step_01"]
        honest = step._widened

        def lying(array: Any) -> Any:
            array = honest(array).copy()
            if array.dtype == np.uint8:
                array[0, 0, :, :] = np.clip(array[0, 0] + 9, 0, 63)
            return array

        step._widened = lying
        with pytest.raises(DesynchronisedError, match=r"lost in step 2.*graph 'step_01'"):
            session.decode(data)


def test_a_damaged_stream_is_noticed(moved: Any) -> None:
    session, data = _open()
    with session:
        moved(session)
        payload = split_stream(data)[1]
        start, at = len(data) - len(payload), len(data) - len(payload) // 2
        broken = data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :]
        with pytest.raises(CorruptStreamError):
            session.decode(broken)
        # With its checksum made good, only the coder can notice.
        crc = zlib.crc32(broken[start:], zlib.crc32(broken[: start - 4]))
        with pytest.raises(DesynchronisedError, match="lost in step"):
            session.decode(broken[: start - 4] + crc.to_bytes(4, "little") + broken[start:])
        session.decode(data)


def test_an_engine_that_fails_leaves_the_stream_to_the_cpu(moved: Any, caplog: pytest.LogCaptureFixture) -> None:
    session, data = _open()
    with session:
        wanted = session.decode(data)
        graphs = moved(session)
        graphs["synthesis"].fails = True
        output = session.decode(data)

    assert type(output) is type(wanted)
    assert "the coder on the CPU decodes this stream" in caplog.text
    assert not any(graph.is_held for graph in graphs.values())


def test_an_index_of_another_shape_is_refused(moved: Any, caplog: pytest.LogCaptureFixture) -> None:
    session, data = _open()
    with session:
        graphs = moved(session)
        step = graphs["step_00"]
        step._widened = lambda array: np.ascontiguousarray(array[..., :-1])
        session.decode(data)

    assert "the index of 'step_00' has another shape or dtype" in caplog.text


class Recorded:
    """An engine that keeps what it is given."""

    provider = "pretended"

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def run(self, inputs: Any) -> Any:
        raise AssertionError("not on the host")

    @contextmanager
    def held(self) -> Iterator[None]:
        yield

    def run_on_device(self, inputs: Any) -> Any:
        self.given = dict(inputs)
        return {}

    def close(self) -> None:
        """Nothing to free."""


def test_an_engine_is_found_behind_what_stands_around_it_and_gets_its_prompt() -> None:
    engine = Recorded()
    entry: Any = None
    wrapped = FallbackGraph(ProfiledGraph(engine, entry, Recorded), "head", Recorded)
    prompt = np.ones(3, np.float32)
    found = on_device(PromptedGraph(wrapped, {"prompt": prompt}))

    assert on_device(wrapped) is engine
    assert found is not None
    with found.held():
        found.run_on_device({"x": prompt})
    assert set(engine.given) == {"x", "prompt"}
    session, _ = _open()
    with session:
        on_host = next(iter(session.graphs.by_name.values()))
        assert on_device(on_host) is None
        assert on_device(PromptedGraph(on_host, {})) is None
        assert all_on_device({"a": engine, "b": on_host}) is None
        assert all_on_device({"a": engine}) == {"a": engine}


def test_without_engines_the_reason_is_given() -> None:
    with pytest.raises(BackendNotAvailableError, match=r"between the networks; expected engines of every graph"):
        Session.open(STREAMS / "checkerboard" / "bundle", backend="cpu", coder="gpu")
    with pytest.raises(UsageError, match="there is no such coder; expected cpu, gpu; got 'tpu'"):
        Session.open(STREAMS / "checkerboard" / "bundle", coder="tpu")
    session, _ = _open()
    with session, pytest.raises(BackendNotAvailableError):
        device_decoder_of(session.manifest, session.graphs, session._path, session._tables)
