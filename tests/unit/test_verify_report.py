"""What makes a verification fail: a limit passed, NaN, nothing compared, a limit nobody wrote down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptp_export.verify.limits import ChainLimit, FloatLimit, IntegerLimit, Limits
from ptp_export.verify.measure import FloatError, IntegerError, float_error, integer_error
from ptp_export.verify.report import ChainResult, GraphResult, Report, TensorResult
from ptp_runtime.errors import VerificationError

LIMIT = FloatLimit(worst=1e-3, typical=1e-4)
CHAIN = ChainResult("cat.jpg", 0, 300, 451, 900, 0.05, 0.0, 1e-4, 1e-3, 1e-3, 0, ChainLimit(0.0, 1e-3, 1e-2, 1e-2))
TENSOR = TensorResult("y", (FloatError(5e-4, 5e-5), FloatError(1e-4, 2e-5)), LIMIT)
GRAPH = GraphResult("analysis", "analysis", "fp32", (TENSOR,))
REPORT = Report("bundle", "seg", "00", "cpu", "11", "22", "shipped", (), (GRAPH,), (CHAIN,))


def test_errors_are_relative_to_the_reference() -> None:
    error = float_error(np.float32([1.0, -4.0]), np.float32([1.0, -2.0]))
    assert error.worst == pytest.approx(1.0)
    assert error.typical == pytest.approx(np.sqrt(4 / 5))
    assert float_error(np.float32([0.5, 0]), np.float32([0, 0])).worst == 0.5, "absolute where there is no scale"


def test_integers_count_and_measure_their_differences() -> None:
    error = integer_error(np.uint8([0, 255, 3]), np.uint8([1, 0, 3]))
    assert (error.differing, error.count, error.largest) == (2, 3, 255), "no wrap-around"
    assert not error.within(IntegerLimit(0.5, 300))
    assert IntegerError(1, 10_000, 1).within(IntegerLimit(1e-4, 1))


def test_a_report_within_its_limits_passes() -> None:
    assert REPORT.passed
    assert REPORT.failures() == []
    json.dumps(REPORT.to_dict(), allow_nan=False)
    assert REPORT.to_dict()["graphs"][0]["worst"] == 5e-4
    assert REPORT.to_dict()["graphs"][0]["typical"] == pytest.approx(3.5e-5)


def _with_errors(*errors: FloatError | IntegerError, limit: FloatLimit | IntegerLimit = LIMIT) -> Report:
    tensor = TensorResult("y", errors, limit)  # type: ignore[arg-type]
    return replace(REPORT, graphs=(replace(GRAPH, tensors=(tensor,)),))


@pytest.mark.parametrize("error", [FloatError(2e-3, 5e-5), FloatError(5e-4, 2e-4)])
def test_one_photo_above_one_limit_fails(error: FloatError) -> None:
    report = _with_errors(FloatError(1e-5, 1e-6), error)
    assert not report.passed
    assert "analysis: y is off" in report.failures()[0]


def test_a_tensor_that_is_not_finite_fails_and_stays_json() -> None:
    report = _with_errors(float_error(np.float32([np.nan]), np.float32([1.0])))
    assert not report.passed
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["graphs"][0]["worst"] is None


def test_integers_are_judged_over_all_photos() -> None:
    limit = IntegerLimit(1e-4, 1)
    assert _with_errors(IntegerError(1, 1_000, 1), IntegerError(0, 9_000, 0), limit=limit).passed
    assert not _with_errors(IntegerError(2, 10_000, 1), limit=limit).passed
    assert not _with_errors(IntegerError(1, 100_000, 2), limit=limit).passed


def test_nothing_compared_is_a_failure() -> None:
    assert replace(REPORT, graphs=()).failures() == ["nothing was compared"]
    assert replace(REPORT, chain=()).failures() == ["nothing was compared"]
    assert replace(REPORT, graphs=(replace(GRAPH, tensors=()),)).failures() == ["analysis: nothing was compared"]
    assert not _with_errors().passed


@pytest.mark.parametrize(
    "changes",
    [
        {"z_differing": 1e-9},
        {"symbols_differing": 2e-3},
        {"feature": 0.02},
        {"disagreement": 0.02},
        {"feature": float("nan")},
        {"round_trip_errors": 1},
    ],
)
def test_each_quantity_of_the_chain_has_a_limit(changes: dict[str, float]) -> None:
    report = replace(REPORT, chain=(CHAIN, replace(CHAIN, **changes)))  # type: ignore[arg-type]
    assert len(report.failures()) == 1
    assert report.failures()[0].startswith("cat.jpg: ")


def test_the_shipped_limits_cover_every_role_precision_and_task() -> None:
    limits = Limits.load()
    for precision in ("fp32", "fp16"):
        for role in ("analysis", "synthesis", "head"):
            assert limits.float_limit(role, precision, "y").worst < 0.05
        for task in ("seg", "det", "cls", "view"):
            assert limits.chain_limit(precision, task).symbols_differing < 0.05
    entropy = limits.float_limit("entropy", "fp32", "mu_hyper")
    assert entropy.worst < limits.float_limit("analysis", "fp32", "y").worst
    assert limits.integer_limit("entropy", "fp32", "index").largest == 1


def test_the_entropy_path_has_no_limit_in_fp16() -> None:
    with pytest.raises(VerificationError, match="no limit"):
        Limits.load().float_limit("entropy", "fp16", "mu_hyper")


@pytest.mark.parametrize(
    "text", ["not toml [", '[[float]]\nrole = "*"\nprecision = "*"\ntensor = "*"\nworst = 1\ntypical = 1\n']
)
def test_limits_without_a_reason_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(VerificationError):
        Limits.load(path)


def test_missing_limits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"absent\.toml"):
        Limits.load(tmp_path / "absent.toml")
