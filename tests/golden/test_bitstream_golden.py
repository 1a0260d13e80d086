"""Streams byte by byte: typed by hand, and against a second implementation of the page that describes them."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.bitstream.header import header_start
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder
from ptp_runtime.coder.kernel_choice import Kernels
from ptp_runtime.errors import DesynchronisedError
from ptp_runtime.tables import SCALES, Table, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime


def _load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"no module at {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


reference = _load("bitstream_reference")

SMALL = Table(-1, (1024, 2048, 512, 512))
SMALL_TABLES = Tables.build([SMALL], [SMALL])
WITH_TAIL = """
    50 54 01 00 3c 02 00 00 00 00 00 00 01 00 01 00 16 1a 2d ca 85
    03 d0 79 0c ba ce 00 00 00 00 00 00 00 00 00 00 00 00 00 00 f8 04
"""
WITHOUT_TAIL = """
    50 54 01 00 3c 02 00 00 00 00 00 00 01 00 01 00 17 3e c1 39 92
    00 71 54 63 68 7b 34 00 0e 00 00 00 00 00 00 00 00 00 00 00 00 00 04
"""


EVERYTHING = """
    50 54 01 1f 3c 01 02 de ad be ef 01 64 00 3c 00
    c8 00 78 00 02 09
    2e 44 49 56 4a
    02 08
    82 88 10
    6c a5 b8
    0f da e7 b9 d0 ba 88 9e db d9 cf bf da 48 43 52 64 a9 36 d5 3d d1 e1 0e cf 36 02
    78 23 00 02 80 02 00 02 5c 0c 94
"""
"""Start, original size with rate, length with CRC, zero map, tail field, step checks, 8 lane states, bypass."""


MEANS_SEALED = """
    50 54 01 42 3c 00 01 00 00 00 00 00 01 00 01 00
    19 a3 95 02 18
    81 80 10
    92 41
    40 b9 09 91 d5 00 00 00 00 00 00 00 00 00 00 00 00 00 00 58
"""
"""Flags 1 and 6: z is 0, one step of y is 1 and 0 with the means 16 and -3, all in the tail."""

OF_A_FLOAT_PATH = """
    50 54 01 23 3c 00 01 00 00 00 00 00 01 00 01 00
    a1 b2 c3 d4
    19 1b d9 38 26
    81 80 10
    34 a3
    20 87 05 e4 2b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 58
"""
"""Flags 0, 1 and 5: the same symbols; the means are not looked at."""


def small_header(**fields: Any) -> StreamHeader:
    return StreamHeader(**{"identity": bytes(4), "task": 0, "width": 1, "height": 1, "steps": 0, **fields})


def test_the_worked_example_is_written_like_this() -> None:
    encoder = StreamEncoder(SMALL_TABLES, small_header())
    encoder.z_step(np.array([[[0, 1, 5]]], np.int16))

    assert encoder.finish() == bytes.fromhex(WITH_TAIL)


@pytest.mark.parametrize("text", [WITH_TAIL, WITHOUT_TAIL], ids=["with tail", "without"])
def test_the_worked_examples_are_read(text: str) -> None:
    decoder = StreamDecoder(bytes.fromhex(text), SMALL_TABLES)

    assert decoder.z_step(1, 3).tolist() == [[[0, 1, 5]]]
    decoder.finish()


@pytest.mark.parametrize("text", [WITH_TAIL, WITHOUT_TAIL], ids=["with tail", "without"])
def test_the_page_shows_these_bytes(text: str, repository: Path) -> None:
    page = (repository / "docs" / "bitstream-format.md").read_text(encoding="utf-8")

    assert " ".join(text.split()) in " ".join(page.split())


def test_a_stream_with_everything_holds_these_bytes() -> None:
    """A resized image, rate, step checks, zero map, 8 lanes, two steps of y of both parities, escapes of both signs."""
    wide = Table(-2, (256, 512, 1792, 1024, 256, 256), 2)
    tables = Tables.build([SMALL, wide], [SMALL])
    header = small_header(
        identity=b"\xde\xad\xbe\xef",
        task=1,
        width=100,
        height=60,
        original_width=200,
        original_height=120,
        rate=2,
        quality=9,
        steps=2,
        skip_index=1,
        float_entropy=True,
        step_checks=True,
    )
    indexes = np.ones((3, 4, 8), np.uint8)
    indexes[0, 0] = 0
    symbols = (np.arange(96, dtype=np.int16).reshape(3, 4, 8) * 7 % 5 - 2) % 3
    symbols[1] = 0
    symbols[0, 0] = 0
    symbols[2, 3, 7], symbols[0, 1, 1], symbols[2, 0, 1] = 300, -9, -32768
    encoder = StreamEncoder(tables, header)
    encoder.z_step(np.array([[[1, -1, 7]]], np.int32))
    encoder.step(symbols, indexes, 2, Parity.EVEN)
    encoder.step(symbols, indexes, 2, Parity.ODD)

    assert encoder.finish() == bytes.fromhex(EVERYTHING)
    reader = reference.Reader(
        bytes.fromhex(EVERYTHING),
        reference_tables(tables),
        [(0, 2)] * 3,
        [reference.Box(indexes.tolist(), 2, parity) for parity in ("even", "odd")],
    )
    assert reader.choices.dead == {3}
    assert reader.choices.tail == (2, 1, 1), "two symbols of step 1, from table 1 on, and all of step 2"
    assert [value for value, _ in reader.steps[0]] == [1, -1, 7]
    assert (reader.met, reader.drained) == (True, True)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (MEANS_SEALED, {"seals_means": True}),
        (OF_A_FLOAT_PATH, {"float_entropy": True, "arithmetic": bytes.fromhex("a1b2c3d4")}),
    ],
    ids=["means sealed", "of a float path"],
)
def test_what_ties_a_stream_to_its_arithmetic_holds_these_bytes(text: str, fields: dict[str, Any]) -> None:
    header = small_header(steps=1, skip_index=0, step_checks=True, **fields)
    symbols, indexes = np.array([[[1, 0]]], np.int16), np.zeros((1, 1, 2), np.uint8)
    witness = zlib.crc32(b"\x10\x00\xfd\xff") if header.seals_means else 0
    encoder = StreamEncoder(SMALL_TABLES, header)
    encoder.z_step(np.array([[[0]]], np.int16))
    encoder.step(symbols, indexes, 0, Parity.ALL, witness)

    assert encoder.finish() == bytes.fromhex(text)
    tables, box = reference_tables(SMALL_TABLES), reference.Box([[[0, 0]]], 0, "all")
    reader = reference.Reader(bytes.fromhex(text), tables, [(0, 1)], [box])
    assert reader.steps == [[(0, 1)], [(1, 0), (0, 0)]]
    again = reference.encode(reader.start, tables, reader.steps, reader.choices, True, [witness])
    assert again == bytes.fromhex(text)


def reference_tables(tables: Tables) -> list[Any]:
    return [
        reference.Table(t.offset, t.frequencies, t.escape_order) for t in (*tables.scale_tables, *tables.hyper_tables)
    ]


TABLES = Tables.build(
    gaussian_tables(SCALES[::6]),
    [table_from_pmf(np.array([0.05, 0.2, 0.5, 0.2]), -2, c % 3) for c in range(3)],
)
PARITIES = {"all": Parity.ALL, "even": Parity.EVEN, "odd": Parity.ODD}


@st.composite
def images(draw: st.DrawFn) -> tuple[StreamHeader, Any, list[tuple[Any, Any, int, str]]]:
    """A header, z, and steps (symbols, indices, first channel, parity)."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps, top = [], draw(st.integers(1, TABLES.scale_count - 1))
    z = random.integers(-3, 4, (3, draw(st.integers(0, 3)), draw(st.integers(0, 3))))
    if draw(st.booleans()):
        z.flat[: z.size // 2] = random.integers(-32768, 32768, z.size // 2)
    header = small_header(
        identity=random.bytes(4),
        steps=draw(st.integers(0, 4)),
        skip_index=draw(st.integers(0, 3)),
        step_checks=draw(st.booleans()),
        seals_means=(sealed := draw(st.booleans())),
        float_entropy=not sealed,
        arithmetic=b"" if sealed else draw(st.sampled_from([b"", b"\x01\x02\x03\x04"])),
        lanes=draw(st.sampled_from([0, 8, 16, 32])),
        rate=draw(st.integers(0, 1)),
        original_width=(wide := draw(st.integers(0, 1)) * 77),
        original_height=wide,
    )
    for _ in range(header.steps):
        shape = tuple(draw(st.lists(st.integers(0, 6), min_size=3, max_size=3)))
        indexes = random.integers(0, top + 1, shape).astype(np.uint8)
        spread = draw(st.sampled_from([0.0, 0.2, 1.0, 30.0, 8000.0]))
        symbols = np.clip(np.rint(random.normal(0, spread, shape)), -32768, 32767).astype(np.int32)
        symbols[:, :, :] = np.where(random.random(shape[:1])[:, None, None] < 0.3, 0, symbols)
        symbols[indexes < header.skip_index] = 0
        steps.append((symbols, indexes, draw(st.integers(0, 9)), draw(st.sampled_from(sorted(PARITIES)))))
    return header, z.astype(np.int32), steps


@settings(max_examples=250, deadline=None)
@given(images())
def test_reader_and_writer_agree_with_the_page(
    image: tuple[StreamHeader, Any, list[tuple[Any, Any, int, str]]],
) -> None:
    header, z, steps = image
    encoder = StreamEncoder(TABLES, header)
    encoder.z_step(z)
    # What the numbers stand for is not the coder's affair.
    witnesses = [zlib.crc32(indexes.tobytes()) * header.seals_means for _, indexes, _, _ in steps]
    for (symbols, indexes, first, parity), witness in zip(steps, witnesses, strict=True):
        encoder.step(symbols, indexes, first, PARITIES[parity], witness)
    data = encoder.finish()

    tables = reference_tables(TABLES)
    z_symbols = [(int(v), TABLES.scale_count + c) for c, plane in enumerate(z) for v in plane.flat]
    boxes = [reference.Box(indexes.tolist(), first, parity) for _, indexes, first, parity in steps]
    reader = reference.Reader(data, tables, z_symbols, boxes)
    coded = [z_symbols] + [
        [(int(symbols[at]), int(indexes[at])) for at in positions]
        for positions, (symbols, indexes, _, _) in zip(reader.positions, steps, strict=True)
    ]
    assert reader.steps == coded
    assert reader.met
    assert reader.drained

    start = header_start(read_header(data))
    assert reader.start == start
    assert reference.encode(start, tables, coded, reader.choices, header.step_checks, witnesses) == data


@settings(max_examples=150, deadline=None)
@given(images(), st.integers(0, 1023), st.integers(0, 70), st.integers(0, 4))
def test_a_reader_obeys_choices_that_our_writer_would_not_make(
    image: tuple[StreamHeader, Any, list[tuple[Any, Any, int, str]]], most: int, least: int, back: int
) -> None:
    """Any tail that fits, from any step and table number on, with or without room to spare."""
    header, z, steps = image
    z_symbols = [(int(v), TABLES.scale_count + c) for c, plane in enumerate(z) for v in plane.flat]
    coded = [z_symbols]
    for symbols, indexes, first, parity in steps:
        positions = reference.coded_positions(reference.Box(indexes.tolist(), first, parity), header.skip_index, set())
        coded.append([(int(symbols[at]), int(indexes[at])) for at in positions])
    tables, lanes = reference_tables(TABLES), header.lanes or 16
    back = min(back, header.steps)
    late = [symbol for symbol in coded[-1 - back] if symbol[1] >= least]
    behind = sum(len(step) for step in coded[len(coded) - back :])
    count = min(most, len(late), max(0, lanes // 2 - behind))
    tail = (count, least, back) if count and behind + count <= lanes // 2 else (0, 0, 0)
    start = header_start(small_header(**{**vars(header), "lanes": lanes}))
    choices = reference.Choices(lanes, frozenset(), b"", tail)
    witnesses = [zlib.crc32(indexes.tobytes()) for _, indexes, _, _ in steps]
    data = reference.encode(start, tables, coded, choices, header.step_checks, witnesses)

    decoder = StreamDecoder(data, TABLES)
    assert np.array_equal(decoder.z_step(*z.shape[1:]), z)
    for (symbols, indexes, first, parity), witness in zip(steps, witnesses, strict=True):
        inside = np.indices(indexes.shape)[1:].sum(axis=0) % 2
        mask = {"all": inside >= 0, "even": inside == 0, "odd": inside == 1}[parity]
        decoded = decoder.step(indexes, first, PARITIES[parity], witness=witness)
        assert np.array_equal(decoded, np.where(mask, symbols, 0))
    decoder.finish()


@pytest.mark.parametrize("kernels", [Kernels.SCALAR, Kernels.VECTOR])
@pytest.mark.parametrize(("least", "fits"), [(1, True), (2, False)])
def test_a_tail_in_z_takes_symbols_of_the_tables_that_it_names(kernels: Kernels, least: int, fits: bool) -> None:
    """Six symbols of hyper table ``least`` and above; table 2 alone has four."""
    z = np.random.default_rng(3).integers(-3, 3, (3, 1, 4))
    symbols = [(int(v), TABLES.scale_count + c) for c, plane in enumerate(z) for v in plane.flat]
    tables, start = reference_tables(TABLES), header_start(small_header(lanes=16))
    choices = reference.Choices(16, frozenset(), b"", (6, TABLES.scale_count + least, 0))
    decoder = StreamDecoder(reference.encode(start, tables, [symbols], choices, False), TABLES, kernels=kernels)

    if not fits:
        with pytest.raises(DesynchronisedError, match="at least 6 symbols to choose from; got 4"):
            decoder.z_step(1, 4)
        return
    assert np.array_equal(decoder.z_step(1, 4), z)
    decoder.finish()
