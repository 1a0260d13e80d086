"""Why an engine will not load, in a sentence, before the library is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptp_runtime.engines.diagnosis import EngineHost, not_listed, why_not
from ptp_runtime.engines.plan_header import plan_header
from ptp_runtime.errors import DamagedEngineError, EngineDeviceError, EngineError, EngineVersionError
from ptp_runtime.manifest import EngineEntry

pytestmark = pytest.mark.runtime

ADA = EngineHost("1.7.1.116", "8.9", "Pretend Ada (8.9)", ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"))
NOWHERE = EngineHost("1.7.1.116", "", "")


def plan(version: tuple[int, int, int, int] = (1, 7, 1, 116), length: int = 200) -> bytes:
    """A plan as far as its header goes."""
    head = b"vtrt" + bytes(12) + length.to_bytes(8, "little") + bytes(version)
    return head + bytes(length - len(head))


def entry(target: str = "tensorrt-rtx", built_with: str = "1.7.1.116", **more: tuple[str, ...]) -> EngineEntry:
    devices, compatible = more.get("devices", ()), more.get("compatible", ())
    return EngineEntry(
        "engines/head.plan", "head", "head", target, "fp16", "ab" * 32, built_with, devices, {}, compatible=compatible
    )


def test_a_header_is_read() -> None:
    header = plan_header(plan())

    assert header is not None
    assert (header.version, header.size) == ("1.7.1.116", 200)
    assert plan_header(b"ptrt" + bytes(100)) is None
    assert plan_header(plan()[:27]) is None


def test_nothing_speaks_against_a_good_engine() -> None:
    assert why_not(entry(), plan(), 200, ADA) is None
    assert why_not(entry(), plan(), 200, NOWHERE) is None, "no device: there is nothing to know about it"
    assert why_not(entry(devices=("8.9", "12.0")), plan(), 200, ADA) is None


@pytest.mark.parametrize(
    ("data", "size", "message"),
    [
        (b"", 0, "no plan"),
        (b"<html>404</html>" * 10, 160, "no plan"),
        (plan()[:150], 150, "damaged"),
        (plan() + b"more", 204, "damaged"),
    ],
)
def test_a_damaged_plan_is_damaged(data: bytes, size: int, message: str) -> None:
    problem = why_not(entry(), data, size, ADA)

    assert isinstance(problem, DamagedEngineError)
    assert message in problem.message
    assert "ptp doctor --fix" in problem.hint


def test_an_empty_file_is_no_engine_of_tensorrt_either() -> None:
    host = EngineHost("10.13.0", "8.9", "Pretend Ada (8.9)")

    assert isinstance(why_not(entry("tensorrt", "10.13.0"), b"", 0, host), DamagedEngineError)
    assert why_not(entry("tensorrt", "10.13.0"), b"ptrt", 4, host) is None


@pytest.mark.parametrize(
    ("built_with", "here", "compatible", "loads"),
    [
        ("10.13.0.35", "10.13.0.40", (), True),
        ("10.13.0", "10.13.2", (), False),
        ("10.13.0", "10.14.0", ("version",), True),
        ("10.13.0", "10.12.0", ("version",), False),
        ("10.13.0", "11.0.0", ("version",), False),
        ("10.13.0", "11.0.0", ("hardware",), False),
    ],
)
def test_versions(built_with: str, here: str, compatible: tuple[str, ...], loads: bool) -> None:
    host = EngineHost(here, "8.9", "Pretend Ada (8.9)")
    problem = why_not(entry("tensorrt", built_with, compatible=compatible), b"x", 1, host)

    assert (problem is None) is loads
    assert loads or isinstance(problem, EngineVersionError)


def test_the_version_byte_of_a_plan_counts_more_than_the_manifest() -> None:
    problem = why_not(entry(), plan((1, 6, 0, 1)), 200, ADA)

    assert isinstance(problem, EngineVersionError)
    assert (problem.expected, problem.got) == ("1.6.0.1", "1.7.1.116 installed here")


@pytest.mark.parametrize(
    ("devices", "capability", "compatible", "loads"),
    [
        (("8.6",), "8.9", (), False),
        (("8.6",), "8.9", ("hardware",), True),
        (("8.6",), "7.5", ("hardware",), False),
        ((), "8.9", (), True),
    ],
)
def test_devices(devices: tuple[str, ...], capability: str, compatible: tuple[str, ...], loads: bool) -> None:
    host = EngineHost("10.13.0", capability, f"Pretend GPU ({capability})")
    problem = why_not(entry("tensorrt", "10.13.0", devices=devices, compatible=compatible), b"x", 1, host)

    assert (problem is None) is loads
    assert loads or isinstance(problem, EngineDeviceError)


def test_hopper_is_not_on_the_list_of_tensorrt_for_rtx() -> None:
    hopper = EngineHost(ADA.version, "9.0", "NVIDIA H100 (9.0)", ADA.supported)
    assert why_not(entry(), plan(), 200, hopper) is None, "it is tried: nobody has seen it fail"
    problem = not_listed(entry(), hopper, "no kernel image")

    assert isinstance(problem, EngineDeviceError)
    assert problem.got == "9.0, and the words: no kernel image"
    assert "does not list the GPU NVIDIA H100 (9.0)" in str(problem)
    assert "--backend cuda" in problem.hint
    assert not_listed(entry(), ADA, "") is None
    assert not_listed(entry(), NOWHERE, "") is None


@pytest.mark.parametrize("path", ["engines/a.plan"])
def test_every_reason_is_one_sentence(path: str, tmp_path: Path) -> None:
    for problem in (
        why_not(entry(), b"", 0, ADA),
        why_not(entry(), plan((1, 6, 0, 0)), 200, ADA),
        why_not(entry(devices=("7.5",)), plan(), 200, ADA),
    ):
        assert isinstance(problem, EngineError)
        assert "\n" not in str(problem)
        assert str(problem).endswith(".")
        assert "nullptr" not in str(problem)
