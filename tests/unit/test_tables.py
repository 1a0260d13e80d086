"""Integer tables: how they are made, what they promise, and what the kernels read of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ptp_runtime.errors import UsageError
from ptp_runtime.tables import SCALES, Table, Tables, gaussian_tables, table_from_pmf

pytestmark = pytest.mark.runtime


def true_pmf(scale: float, value: int) -> float:
    edge = (abs(value) - 0.5) / (scale * math.sqrt(2)), (abs(value) + 0.5) / (scale * math.sqrt(2))
    return 0.5 * (math.erfc(edge[0]) - math.erfc(edge[1])) if value else 1 - math.erfc(edge[1])


def test_the_scales_are_64_log_spaced_levels() -> None:
    ratios = {round(b / a, 9) for a, b in itertools.pairwise(SCALES)}

    assert len(SCALES) == 64
    assert SCALES[0] == pytest.approx(0.11)
    assert SCALES[-1] == pytest.approx(256)
    assert len(ratios) == 1


def test_every_gaussian_table_is_complete() -> None:
    tables = gaussian_tables()

    assert len(tables) == 64
    for table in tables:
        assert sum(table.frequencies) == 4096
        assert min(table.frequencies) >= 1
        assert table.offset == -(table.size // 2)


def test_the_narrowest_table_leaves_nearly_all_to_zero() -> None:
    assert gaussian_tables([0.11])[0] == Table(-1, (1, 4093, 1, 1), 0)


def test_gaussian_tables_are_symmetric_to_one_step() -> None:
    for table in gaussian_tables():
        regular = np.array(table.frequencies[:-1])
        assert int(np.abs(regular - regular[::-1]).max()) <= 1


@pytest.mark.parametrize("level", range(2, 48))
def test_a_gaussian_table_costs_little_more_than_the_entropy(level: int) -> None:
    scale, table = SCALES[level], gaussian_tables([SCALES[level]])[0]
    ideal = spent = 0.0
    for value in range(-table.size * 3, table.size * 3 + 1):
        p = true_pmf(scale, value)
        if p <= 0:
            continue
        place = value - table.offset
        regular = 0 <= place < table.size
        bits = -math.log2(table.frequencies[place if regular else table.size] / 4096) + (0 if regular else 8)
        ideal, spent = ideal - p * math.log2(p), spent + p * bits

    assert ideal <= spent <= ideal * 1.005 + 0.004


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_gaussian_needs_a_positive_scale(scale: float) -> None:
    with pytest.raises(UsageError, match="positive"):
        gaussian_tables([scale])


def test_a_pmf_in_4096ths_is_kept_exactly() -> None:
    table = table_from_pmf(np.array([96, 1000, 2000, 500]) / 4096, -2)

    assert table == Table(-2, (96, 1000, 2000, 500, 500))


def test_no_mass_for_the_escape_still_leaves_it_one() -> None:
    table = table_from_pmf([0.5, 0.5], 3)

    assert table.frequencies[-1] == 1
    assert sorted(table.frequencies[:-1]) == [2047, 2048]


def test_edges_that_hold_nothing_go_to_the_escape() -> None:
    table = table_from_pmf([1e-9, 1e-7, 0.25, 0.5, 0.25, 0.0], -10)

    assert table.offset == -8
    assert table.size == 3


def test_a_wide_pmf_keeps_its_255_likeliest_neighbours() -> None:
    values = np.arange(-500, 501)
    pmf = np.exp(-np.abs(values - 40) / 80.0)

    table = table_from_pmf(pmf / pmf.sum(), -500)

    assert table.size == 255
    assert table.offset <= 40 - 126 <= table.offset + 2


def test_rounding_costs_no_more_than_any_other_rounding() -> None:
    """Against all tables of three members, one by one."""
    pmf = np.array([0.9988, 0.0009, 0.0003])
    table = table_from_pmf(pmf[:2], 0)
    first, second = np.meshgrid(np.arange(1, 4095), np.arange(1, 4095), indexing="ij")
    third = 4096 - first - second
    valid = third >= 1
    cost = -(pmf[0] * np.log2(first[valid]) + pmf[1] * np.log2(second[valid]) + pmf[2] * np.log2(third[valid]))
    ours = -float(pmf @ np.log2(np.array(table.frequencies)))

    assert ours == pytest.approx(float(cost.min()), abs=1e-12)


@pytest.mark.parametrize(
    "pmf",
    [[], [0.5, -0.1], [math.nan], [[0.5, 0.5]], [0.9, 0.9], [0.0, 0.0]],
    ids=["empty", "negative", "nan", "2-D", "1.8", "0"],
)
def test_what_is_no_pmf_is_refused(pmf: list[float]) -> None:
    with pytest.raises(UsageError, match="probabilities"):
        table_from_pmf(np.array(pmf, np.float64), 0)


@pytest.mark.parametrize(
    ("offset", "frequencies", "order", "fault"),
    [
        (0, (4096,), 0, "regular symbols"),
        (0, (4095, 2), 0, "sum to 4096"),
        (0, (4096, 0), 0, "at least 1"),
        (0, (4095, 1), 16, "escape order"),
        (32767, (4094, 1, 1), 0, "16 bits"),
        (-32769, (4095, 1), 0, "16 bits"),
        (0, tuple([1] * 256 + [3840]), 0, "regular symbols"),
    ],
)
def test_what_is_no_table_is_refused(offset: int, frequencies: tuple[int, ...], order: int, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Table(offset, frequencies, order)


def test_build_refuses_no_or_too_many_tables() -> None:
    table = Table(0, (4095, 1))

    with pytest.raises(UsageError, match="scale tables"):
        Tables.build([], [table])
    with pytest.raises(UsageError, match="scale tables"):
        Tables.build([table] * 257, [])
    with pytest.raises(UsageError, match="hyper tables"):
        Tables.build([table], [table] * 4097)


def test_the_decode_look_up_inverts_the_encode_entries() -> None:
    tables = Tables.build(gaussian_tables(SCALES[::9]), [table_from_pmf([0.25, 0.5], -7)])
    encode, decode = tables.encode_entries.reshape(-1, 256), tables.decode_entries.reshape(-1, 4096)

    for number, table in enumerate([*tables.scale_tables, *tables.hyper_tables]):
        entry = decode[number].astype(np.int64)
        member, frequency = entry & 255, entry >> 20
        start = np.arange(4096) - (entry >> 8 & 4095)
        assert np.array_equal(member, np.repeat(np.arange(table.size + 1), table.frequencies))
        assert np.array_equal(encode[number][member].astype(np.int64), frequency | start << 16)


def test_what_kernels_read_cannot_be_changed() -> None:
    tables = Tables.build([Table(0, (4095, 1))], [])

    for array in (tables.offsets, tables.sizes, tables.escape_orders, tables.encode_entries, tables.decode_entries):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_file_holds_these_bytes() -> None:
    tables = Tables.build([Table(-1, (1, 4093, 1, 1))], [Table(300, (4000, 96), 3)])

    assert tables.to_bytes() == bytes.fromhex(
        "50545054 01 0c 0100 0100"  # "PTPT", version 1, 12 bits, 1 scale table, 1 hyper table
        "ffff 03 00 0100 fd0f 0100 0100"  # offset -1, 3 regular, order 0, frequencies
        "2c01 01 03 a00f 6000"  # offset 300, 1 regular, order 3
    )


def test_a_file_comes_back_as_it_went() -> None:
    tables = Tables.build(gaussian_tables(), [table_from_pmf([0.1, 0.5, 0.2], c - 5, c) for c in range(5)])
    again = Tables.from_bytes(tables.to_bytes())

    assert again == tables
    assert again.sha256 == tables.sha256
    assert (again.scale_count, again.hyper_count, again.probability_bits) == (64, 5, 12)


def test_reading_evaluates_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Tables.build(gaussian_tables(SCALES[:3]), []).to_bytes()

    def never(*_: float) -> float:
        raise AssertionError("a probability was evaluated")

    for name in ("erf", "erfc", "exp", "log2"):
        monkeypatch.setattr(math, name, never)

    assert Tables.from_bytes(data).decode_entries.size == 3 * 4096
