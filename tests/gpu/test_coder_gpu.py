"""The GPU coder's source, run on the CPU with a warp of fibres, against the CPU's streams; and compiled for GPUs."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptp_runtime.bitstream import StreamHeader
from ptp_runtime.coder import Parity, StreamEncoder, encode_kernels
from ptp_runtime.coder.lookups import lookups_of
from ptp_runtime.coder.signatures import ready
from ptp_runtime.coder_gpu import BatchDecoder, Handle, encode_lanes
from ptp_runtime.coder_gpu.batch_decoder import DECODER
from ptp_runtime.coder_gpu.cubin import cubin_for
from ptp_runtime.errors import BackendNotAvailableError, DesynchronisedError, UsageError
from ptp_runtime.tables import Table, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime

HYPER = [table_from_pmf(np.array([0.02, 0.3, 0.5, 0.1]), offset) for offset in (-2, 0, 30000)]
GAUSSIAN = Tables.build(gaussian_tables(), HYPER)
SHIFTED = Tables.build([Table(5 * k - 150, (2000, 1000, 500, 595, 1), k % 16) for k in range(64)], HYPER)


Step = tuple[Any, Any, int, Parity]


class Batch(NamedTuple):
    """What is coded; its name is short, for messages."""

    tables: Tables
    images: list[tuple[StreamHeader, Any, list[Step]]]

    def __repr__(self) -> str:
        return f"Batch({[(header, [step[0].shape for step in steps]) for header, _, steps in self.images]})"


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Streams of one schedule, each with symbols, lanes, skip index and zero map of its own."""
    shapes = st.tuples(st.integers(0, 6), st.integers(1, 9), st.integers(1, 12))
    schedule = draw(st.lists(st.tuples(shapes, st.sampled_from(list(Parity))), max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    z_shape = (3, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    images = []
    for _ in range(draw(st.integers(1, 3))):
        skip, spread = draw(st.sampled_from([0, 2, 30])), draw(st.sampled_from([0.3, 3.0, 60.0, 9000.0]))
        steps = []
        for first, (shape, parity) in enumerate(schedule):
            indexes = np.clip(random.normal(draw(st.integers(0, 63)), 8, shape), 0, 63).astype(np.uint8)
            symbols = np.clip(np.rint(random.normal(0, spread, shape)), -32768, 32767).astype(np.int16)
            symbols[random.random(shape[0]) < 0.4] = 0
            symbols[indexes < skip] = 0
            steps.append((symbols, indexes, first, parity))
        header = StreamHeader(
            identity=random.bytes(4),
            task=1,
            width=16,
            height=16,
            steps=len(steps),
            skip_index=skip,
            lanes=draw(st.sampled_from([8, 16, 32])),
            step_checks=draw(st.booleans()),
        )
        z = np.clip(np.rint(random.normal(0, draw(st.sampled_from([0.5, 900.0])), z_shape)), -32768, 32767)
        images.append((header, z.astype(np.int16), steps))
    return Batch(draw(st.sampled_from([GAUSSIAN, GAUSSIAN, SHIFTED])), images)


def encoded(tables: Tables, header: StreamHeader, z: Any, steps: list[Step], witness: int = 0) -> bytes:
    encoder = StreamEncoder(tables, header)
    encoder.z_step(z)
    for symbols, indexes, first, parity in steps:
        encoder.step(symbols, indexes, first, parity, witness)
    return encoder.finish()


def taken(device: Any, handle: Handle, shape: tuple[int, ...]) -> Any:
    array = np.zeros(shape, np.int16)
    device.download(handle, array)
    device.free(handle)
    return array


def inside(step: Step) -> Any:
    odd = np.indices(step[1].shape)[1:].sum(axis=0) % 2
    return {Parity.ALL: odd >= 0, Parity.EVEN: odd == 0, Parity.ODD: odd == 1}[step[3]]


def test_the_host_describes_the_decoder_as_the_kernels_do(device: Any) -> None:
    assert device.library.decoder_size() == DECODER.itemsize


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=batches())
def test_a_batch_decodes_to_what_the_cpu_encoded(device: Any, batch: Any) -> None:
    (tables, images), before = batch, len(device.arrays)
    decoder = BatchDecoder(device, [encoded(tables, *image) for image in images], tables)
    z_shape = (len(images), *images[0][1].shape)

    got = taken(device, decoder.z_step(*z_shape[2:]), z_shape)
    assert np.array_equal(got, np.stack([z for _, z, _ in images]))
    for number in range(images[0][0].steps):
        steps = [image[2][number] for image in images]
        indexes = device.upload(np.stack([step[1] for step in steps]))
        # Steps of one schedule have one first channel; the batch's streams may still differ in it here.
        got = taken(
            device, decoder.step(indexes, steps[0][2], steps[0][1].shape, steps[0][3]), (len(steps), *steps[0][1].shape)
        )
        device.free(indexes)
        for plane, step in zip(got, steps, strict=True):
            assert np.array_equal(plane, np.where(inside(step), step[0], 0))
    decoder.finish()
    decoder.close()
    assert len(device.arrays) == before


def one_image() -> tuple[StreamHeader, Any, list[Step]]:
    random = np.random.default_rng(1)
    indexes = np.clip(random.normal(20, 6, (6, 8, 10)), 0, 63).astype(np.uint8)
    symbols = np.rint(random.normal(0, 0.11 * 1.1309**indexes)).astype(np.int16)
    header = StreamHeader(identity=b"abcd", task=0, width=9, height=9, steps=2, lanes=32, skip_index=0)
    z = np.zeros((3, 1, 1), np.int16)
    return header, z, [(symbols, indexes, 0, Parity.EVEN), (symbols, indexes, 0, Parity.ODD)]


def run(device: Any, data: bytes, steps: list[Step], witness: int = 0) -> None:
    decoder = BatchDecoder(device, [data], GAUSSIAN)
    decoder.z_step(1, 1)
    for _, indexes, first, parity in steps:
        decoder.step(device.upload(indexes[None]), first, indexes.shape, parity, [witness])
    decoder.finish()


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_another_scale_index_never_passes(device: Any, checks: bool, number: int) -> None:
    header, z, steps = one_image()
    data = encoded(GAUSSIAN, dataclasses.replace(header, step_checks=checks), z, steps)
    places = np.argwhere(inside(steps[number]))
    for at in places[::17]:
        other = steps[number][1].copy()
        other[tuple(at)] ^= 1
        wrong = [(s, other if n == number else indexes, *rest) for n, (s, indexes, *rest) in enumerate(steps)]
        with pytest.raises(DesynchronisedError, match="stream 0 of the batch was lost in step"):
            run(device, data, wrong)


def test_an_index_without_a_table_is_noticed(device: Any) -> None:
    header, z, steps = one_image()
    other = steps[0][1].copy()
    other[0, 0, 0] = 64
    with pytest.raises(DesynchronisedError, match="lost in step 1: a scale index without a table"):
        run(device, encoded(GAUSSIAN, header, z, steps), [(steps[0][0], other, 0, Parity.EVEN), steps[1]])


def test_witnesses_are_sealed(device: Any) -> None:
    header, z, steps = one_image()
    data = encoded(GAUSSIAN, dataclasses.replace(header, step_checks=True), z, steps, 0xFFFFFFF0)

    run(device, data, steps, 0xFFFFFFF0)
    with pytest.raises(DesynchronisedError, match="lost in step 1: the check of the step"):
        run(device, data, steps, 0xFFFFFFF1)


def test_steps_have_an_order(device: Any) -> None:
    header, z, steps = one_image()
    data = encoded(GAUSSIAN, header, z, steps)
    decoder = BatchDecoder(device, [data], GAUSSIAN)
    with pytest.raises(UsageError, match="z first"):
        decoder.step(Handle(0), 0, (0, 0, 0))
    decoder.z_step(1, 1)
    with pytest.raises(UsageError, match="z again"):
        decoder.z_step(1, 1)
    with pytest.raises(UsageError, match="z and 2 of y"):
        decoder.finish()
    with pytest.raises(UsageError, match="one number of steps"):
        BatchDecoder(device, [data, encoded(GAUSSIAN, dataclasses.replace(header, steps=1), z, steps[:1])], GAUSSIAN)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16, 32]), st.integers(1, 4), st.integers(1, 5))
def test_lanes_are_coded_as_on_the_cpu(device: Any, seed: int, lanes: int, streams: int, steps: int) -> None:
    random, lookups = np.random.default_rng(seed), lookups_of(GAUSSIAN)
    ready(encode_kernels.encode_lanes)
    before = len(device.arrays)
    keys, bounds, states, expected = [], [], [], []
    for _ in range(streams):
        counts = random.integers(0, 150, steps)
        table, code = random.integers(0, 64, counts.sum()), random.integers(-3, 4, counts.sum()) & 255
        keys.append((256 * table + code).astype(np.uint32))
        bounds.append(np.concatenate([[0], np.cumsum(counts)]))
        states.append((65536 + random.integers(0, 65536, lanes)).astype(np.uint32))
        end, words = states[-1].copy(), np.zeros(keys[-1].size, np.uint16)
        first = encode_kernels.encode_lanes(keys[-1], bounds[-1], lookups.encode_entries, end, words)
        expected.append((end.tolist(), words[first:].tolist()))

    got = encode_lanes(device, keys, bounds, lookups.encode_entries, states)

    assert [(end.tolist(), words.tolist()) for end, words in got] == expected
    assert len(device.arrays) == before


@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90", "sm_100"])
def test_the_kernels_compile_without_a_gpu(architecture: str) -> None:
    if not importlib.util.find_spec("cuda") or not importlib.util.find_spec("cuda.core"):
        with pytest.raises(BackendNotAvailableError, match="compiler is missing"):
            cubin_for(architecture)
        return
    machine_code = cubin_for(architecture)

    assert machine_code.startswith(b"\x7fELF")
    assert b"ptp_decode_step" in machine_code
    assert b"ptp_encode_lanes" in machine_code
    assert b"ptp_write_decoded" in machine_code


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(BackendNotAvailableError, match=r"compiled for sm_1|compiler is missing"):
        cubin_for("sm_1")
