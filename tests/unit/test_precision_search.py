"""The search of ``--best`` on damages by hand, and what is asked of precision in one export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptp_export.conversion.photos import calibration_photos
from ptp_export.conversion.search import Product, search
from ptp_export.conversion.trial import Damage
from ptp_export.precision.choices import Loss, PrecisionChoices
from ptp_export.precision.options_cli import _share
from ptp_runtime.errors import UsageError


class Bench:
    """Products that add their damage up."""

    def __init__(self, bits: dict[Product, float], metric: dict[Product, float]) -> None:
        self.bits, self.metric = bits, metric
        self.lists: list[tuple[Product, ...]] = []

    def weigh(self, products: Sequence[Product]) -> Damage:
        self.lists.append(tuple(products))
        metric = sum(self.metric[product] for product in products)
        return Damage(sum(self.bits[product] for product in products), metric, metric / 100)


def _products(count: int) -> list[Product]:
    return [("head", f"n{k}") for k in range(count)]


@given(st.lists(st.tuples(st.floats(0, 0.01), st.floats(0, 1), st.integers(1, 1000)), min_size=1, max_size=20))
def test_the_longest_list_within_the_limits_is_found(layers: list[tuple[float, float, int]]) -> None:
    names = _products(len(layers))
    bench = Bench(
        {name: layer[0] for name, layer in zip(names, layers, strict=True)},
        {name: layer[1] for name, layer in zip(names, layers, strict=True)},
    )
    loss = Loss(0.01, 0.5)
    costs = {name: layer[2] for name, layer in zip(names, layers, strict=True)}
    result = search(costs, bench.weigh, loss, lambda share, what: None)
    assert loss.holds(result.damage.bits, result.damage.metric)
    order = [item.product for item in result.weighed] or names
    assert sorted(order) == sorted(names)
    assert list(result.chosen) == order[: len(result.chosen)]
    if len(result.chosen) < len(names):
        longer = bench.weigh(order[: len(result.chosen) + 1])
        assert not loss.holds(longer.bits, longer.metric)


def test_cheap_damage_for_much_arithmetic_comes_first() -> None:
    good, bad, small = names = _products(3)
    bench = Bench(dict.fromkeys(names, 0.0), {good: 0.1, bad: 5.0, small: 0.1})
    result = search({good: 1000, bad: 1000, small: 10}, bench.weigh, Loss(0.01, 0.5), lambda share, what: None)
    assert result.weighed[0].product == good
    assert bad not in result.chosen
    assert result.damage.metric == pytest.approx(0.1 * len(result.chosen))


def test_where_everything_is_within_the_limits_nothing_is_weighed_alone() -> None:
    names = _products(30)
    bench = Bench(dict.fromkeys(names, 1e-4), dict.fromkeys(names, 0.01))
    result = search(dict.fromkeys(names, 5), bench.weigh, Loss(0.01, 0.5), lambda share, what: None)
    assert result.chosen == tuple(names)
    assert result.weighed == ()
    assert [len(tried) for tried in bench.lists] == [30]
    assert result.damage.metric == pytest.approx(0.3)


def test_nothing_within_the_limits_leaves_everything_in_floats() -> None:
    names = _products(4)
    bench = Bench(dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.0))
    result = search(dict.fromkeys(names, 5), bench.weigh, Loss(0.01, 0.5), lambda share, what: None)
    assert result.chosen == ()
    assert result.damage == Damage(0.0, 0.0, 0.0)
    assert search({}, bench.weigh, Loss(), lambda share, what: None).chosen == ()


def test_progress_grows_and_ends_below_one() -> None:
    names, shares = _products(9), []
    bench = Bench(dict.fromkeys(names, 0.004), dict.fromkeys(names, 0.0))
    search(dict.fromkeys(names, 5), bench.weigh, Loss(), lambda share, what: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] <= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"int8": True, "observer": "median"}, "observer"),
        ({"best": Loss()}, "--best"),
        ({"int8": True, "best": Loss(bits=-0.1)}, "limits"),
        ({"int8": True, "best": Loss(metric=101)}, "limits"),
        ({"ranges": Path("r.json")}, "FP32"),
    ],
)
def test_requests_that_make_no_sense_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PrecisionChoices(**changes)  # type: ignore[arg-type]


def test_a_share_is_written_with_its_sign() -> None:
    assert _share("1%") == 0.01
    assert _share(" 2.5% ") == 0.025
    for text in ("1", "one%", "%", ""):
        with pytest.raises(UsageError, match="such as 1%"):
            _share(text)


def test_photos_that_cannot_calibrate_are_refused(tmp_path: Path, shipped_photos: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        calibration_photos(tmp_path / "absent")
    with pytest.raises(UsageError, match="no photo in the set"):
        calibration_photos(tmp_path)
    few = tmp_path / "few"
    few.mkdir()
    for name in ("dogs.jpg", "dandelions.jpg"):
        (few / name).write_bytes(shipped_photos[name].read_bytes())
    with pytest.raises(UsageError, match="too few photos"):
        calibration_photos(few)
    (few / "my cat.jpg").write_bytes(shipped_photos["cat.jpg"].read_bytes())
    with pytest.raises(UsageError, match=r"my cat\.jpg"):
        calibration_photos(few)
    (few / "my cat.jpg").write_bytes(b"no photo")
    with pytest.raises(UsageError, match=r"my cat\.jpg cannot be decoded"):
        calibration_photos(few)
    assert len(calibration_photos(None)) >= 4
