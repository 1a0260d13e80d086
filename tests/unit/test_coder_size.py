"""How much the stream adds to the information in its symbols: header, tail, hash, lanes and rounding all counted.

The latents are synthetic, with the statistics of a trained codec at 0.3 bits a pixel: 320 channels, each with a level
of its own, nearly all symbols 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.coder import Parity, StreamDecoder, StreamEncoder
from ptp_runtime.tables import SCALES, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime

GROUPS = (16, 16, 32, 64, 192)
TABLES = Tables.build(gaussian_tables(), [table_from_pmf(np.array([0.25, 0.5, 0.25]), -1)])


def latents(rows: int, columns: int, level: float) -> tuple[Any, Any]:
    """Symbols and scale indices [320, rows, columns]; symbols below index 2 are 0."""
    random = np.random.default_rng(0)
    logs = random.normal(level, 1.5, (320, 1, 1)) + random.normal(0, 0.6, (320, rows, columns))
    places = (logs - math.log(SCALES[0])) / math.log(SCALES[1] / SCALES[0])
    indexes = np.clip(np.floor(places + 0.5), 0, 63).astype(np.uint8)
    symbols = np.rint(random.normal(0, 1, indexes.shape) * np.array(SCALES)[indexes]).astype(np.int32)
    symbols[indexes < 2] = 0
    return symbols, indexes


def ideal_bytes(symbols: Any, indexes: Any) -> float:
    """-log2 of the true Gaussian probabilities of the coded symbols, over 8."""
    coded = indexes >= 2
    pairs, counts = np.unique(np.stack([indexes[coded], np.abs(symbols[coded])]), axis=1, return_counts=True)
    bits = 0.0
    for index, size, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        width = SCALES[index] * math.sqrt(2)
        p = 0.5 * (math.erfc((size - 0.5) / width) - math.erfc((size + 0.5) / width)) if size else math.erf(0.5 / width)
        bits -= count * math.log2(p)
    return bits / 8


def stream(symbols: Any, indexes: Any) -> bytes:
    header = StreamHeader(identity=b"abcd", task=0, width=512, height=768, steps=2 * len(GROUPS))
    encoder = StreamEncoder(TABLES, header)
    encoder.z_step(np.zeros((1, 1, 1), np.int16))
    first = 0
    for size in GROUPS:
        part = slice(first, first + size)
        for parity in (Parity.EVEN, Parity.ODD):
            encoder.step(symbols[part], indexes[part], first, parity)
        first += size
    return encoder.finish()


@pytest.mark.parametrize(
    ("rows", "columns", "level", "size", "lanes", "limit"),
    [
        (48, 32, -2.95, (14000, 16000), 32, 0.0042),
        (48, 32, -2.2, (30000, 34000), 32, 0.0024),
        (24, 16, -2.7, (4000, 6000), 16, 0.0095),
        (16, 12, -3.0, (1400, 2600), 8, 0.0225),
    ],
    ids=["15 kB", "32 kB", "5 kB", "2 kB"],
)
def test_a_stream_is_little_larger_than_its_information(
    rows: int, columns: int, level: float, size: tuple[int, int], lanes: int, limit: float
) -> None:
    symbols, indexes = latents(rows, columns, level)
    data, ideal = stream(symbols, indexes), ideal_bytes(symbols, indexes)

    assert size[0] <= ideal <= size[1], "another set than the one the limit is for"
    assert read_header(data).lanes == lanes
    assert 0 < len(data) / ideal - 1 <= limit

    decoder, first = StreamDecoder(data, TABLES), 0
    decoder.z_step(1, 1)
    for group in GROUPS:
        part = slice(first, first + group)
        halves = [decoder.step(indexes[part], first, parity) for parity in (Parity.EVEN, Parity.ODD)]
        assert np.array_equal(sum(halves), symbols[part])
        first += group
    decoder.finish()
