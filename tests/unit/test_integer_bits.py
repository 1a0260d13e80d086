"""Bits of symbols under the scale table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptp_calibration.integer_path.conversion.bits import SYMBOL_LIMIT, bits_table, symbol_bits


def _probability(q: int, scale: float) -> float:
    def below(x: float) -> float:
        return 0.5 * (1 + math.erf(x / (scale * math.sqrt(2))))

    return below(q + 0.5) - below(q - 0.5)


@pytest.mark.parametrize(("index", "scale"), [(0, 0.11), (63, 256.0), (32, 0.11 * (256 / 0.11) ** (32 / 63))])
@pytest.mark.parametrize("q", [0, 1, -2])
def test_a_symbol_costs_what_the_gaussian_says(index: int, scale: float, q: int) -> None:
    expected = -math.log2(max(_probability(q, scale), 1e-9))

    assert symbol_bits(np.array([q]), np.array([index])) == pytest.approx(expected, rel=1e-9)


def test_the_table_is_complete_and_bounded() -> None:
    table = bits_table()

    assert table.shape == (64, SYMBOL_LIMIT + 1)
    assert (np.diff(table, axis=1) >= 0).all(), "larger symbols never cost less"
    assert table.max() == pytest.approx(-math.log2(1e-9))
    total = 2 ** -table[:40, 0] + 2 * (2 ** -table[:40, 1:]).sum(1)
    assert total == pytest.approx(np.ones(40), abs=1e-5)


def test_bits_add_up_over_any_shape() -> None:
    symbols = np.array([[0, 3], [-3, 2047]])
    indices = np.array([[5], [20]], np.uint8)
    single = [symbol_bits(symbols[r, c], indices[r, 0]) for r in range(2) for c in range(2)]

    assert symbol_bits(symbols, indices) == pytest.approx(sum(single))
    assert single[1] > single[0]
