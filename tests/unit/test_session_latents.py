"""The encoder's arithmetic and the places of the steps, against numbers worked out by hand.

A round trip alone would not notice an error that both sides share; a bundle made elsewhere would.
"""

from __future__ import annotations

import numpy as np
import pytest

from ptp_runtime.coder import Parity
from ptp_runtime.encoder import _quantised, _rounded
from ptp_runtime.entropy_path import Place, place_of, write_decoded
from ptp_runtime.manifest import REGIONS, ScheduleEntry

pytestmark = pytest.mark.runtime

#                 rows        columns      parity
PLACES = {
    "all": ((0, 8), (0, 12), Parity.ALL),
    "anchor": ((0, 8), (0, 12), Parity.EVEN),
    "nonanchor": ((0, 8), (0, 12), Parity.ODD),
    "top-left": ((0, 4), (0, 6), Parity.ALL),
    "bottom-left": ((4, 8), (0, 6), Parity.ALL),
    "top-right": ((0, 4), (6, 12), Parity.ALL),
    "bottom-right": ((4, 8), (6, 12), Parity.ALL),
}


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_is_where_the_contract_says(region: str) -> None:
    rows, columns, parity = PLACES[region]

    place = place_of(ScheduleEntry("step", (3, 5), region), 8, 12)

    assert place == Place(slice(3, 5), slice(*rows), slice(*columns), parity)


def test_the_parity_is_that_of_row_plus_column() -> None:
    box = np.zeros((2, 2, 4))
    whole = (slice(0, 2), slice(0, 2), slice(0, 4))

    assert Place(*whole, Parity.EVEN).coded(box).tolist() == [[[True, False, True, False], [False, True, False, True]]]
    assert Place(*whole, Parity.ODD).coded(box).tolist() == [[[False, True, False, True], [True, False, True, False]]]
    assert Place(*whole, Parity.ALL).coded(box).all()


def _place(parity: Parity = Parity.ALL, columns: int = 6) -> Place:
    return Place(slice(0, 1), slice(0, 1), slice(0, columns), parity)


def test_a_symbol_is_the_rounded_distance_to_the_mean() -> None:
    y = np.array([[[1.0, 1.0, 2.5, 3.5, -2.5, 0.49]]], np.float32)
    mean = np.array([[[0, 24, 0, 0, 0, 0]]], np.int16)
    index = np.full(mean.shape, 9, np.uint8)

    # 1 − 24/16 is −0.5: halves go to the even neighbour, as in 2.5, 3.5 and −2.5.
    assert _quantised(y, index, mean, _place(), 2).tolist() == [[[1, 0, 2, 4, -2, 0]]]


def test_a_skipped_symbol_is_zero_and_the_threshold_is_coded() -> None:
    y = np.full((1, 1, 6), 7, np.float32)
    index = np.array([[[0, 1, 2, 3, 63, 1]]], np.uint8)

    assert _quantised(y, index, np.zeros((1, 1, 6), np.int16), _place(), 2).tolist() == [[[0, 0, 7, 7, 7, 0]]]


def test_a_position_of_the_other_parity_is_zero() -> None:
    y = np.full((1, 1, 6), 7, np.float32)
    index, mean = np.full(y.shape, 9, np.uint8), np.zeros(y.shape, np.int16)

    assert _quantised(y, index, mean, _place(Parity.EVEN), 2).tolist() == [[[7, 0, 7, 0, 7, 0]]]
    assert _quantised(y, index, mean, _place(Parity.ODD), 2).tolist() == [[[0, 7, 0, 7, 0, 7]]]


@pytest.mark.parametrize(("value", "symbol"), [(1e9, 32767), (-1e9, -32767), (32767.4, 32767), (-32768.0, -32767)])
def test_a_symbol_fits_16_bits(value: float, symbol: int) -> None:
    assert _rounded(np.array([value], np.float32)).tolist() == [symbol]


def test_decoded_values_are_in_sixteenths_and_leave_the_rest_alone() -> None:
    decoded = np.full((3, 1, 6), 5, np.float32)
    symbols = np.array([[[1, 9, -2, 9, 32767, 9]]], np.int32)
    mean = np.array([[[3, 9, -7, 9, 1023, 9]]], np.int16)
    place = Place(slice(1, 2), slice(0, 1), slice(0, 6), Parity.EVEN)

    write_decoded(decoded, symbols, mean, place)

    assert decoded[1].tolist() == [[19, 5, -39, 5, 525295, 5]]
    assert (decoded[[0, 2]] == 5).all()


def test_a_skipped_position_decodes_to_its_mean() -> None:
    decoded = np.zeros((1, 1, 6), np.float32)

    write_decoded(decoded, np.zeros((1, 1, 6), np.int32), np.full((1, 1, 6), -17, np.int16), _place())

    assert (decoded == -17).all()
