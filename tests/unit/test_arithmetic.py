"""Streams of a float path name the arithmetic that wrote them, and another one refuses them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ptp_runtime import arithmetic
from ptp_runtime.arithmetic import Arithmetic, cpu_arithmetic, difference, written_by
from ptp_runtime.bitstream import read_header
from ptp_runtime.bitstream.header import header_start, stream_from_parts
from ptp_runtime.bundle import Bundle
from ptp_runtime.coder import StreamDecoder
from ptp_runtime.errors import DesynchronisedError, UsageError, WrongArithmeticError
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime

HERE = Arithmetic("CPUExecutionProvider", "onnxruntime 1.31.1", "Linux x86_64", "avx fma avx2 avx512f", 2)
PHOTO: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)


class OnMachine(PocketBackend):
    """A pocket backend of which one can say where it runs."""

    def __init__(self, where: Arithmetic) -> None:
        super().__init__()
        self._where = where

    @property
    def arithmetic(self) -> Arithmetic:
        return self._where


def elsewhere(**changes: Any) -> Arithmetic:
    return Arithmetic(**{**vars(HERE), **changes})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of a float path."""
    return Bundle.open(write_pocket_bundle(tmp_path_factory.mktemp("float") / "bundle", task="view"))


def test_the_fingerprint_is_that_of_the_page() -> None:
    lines = (
        b"ptp arithmetic 1\nprovider CPUExecutionProvider\nlibrary onnxruntime 1.31.1\nmachine Linux x86_64\n"
        b"instructions avx fma avx2 avx512f\nthreads 2\n"
    )

    assert HERE.fingerprint == hashlib.sha256(lines).digest()[:4]


def test_everything_that_matters_is_in_the_fingerprint() -> None:
    others = [
        elsewhere(provider="CUDAExecutionProvider"),
        elsewhere(library="onnxruntime 1.31.0"),
        elsewhere(machine="Linux aarch64"),
        elsewhere(instructions="avx fma avx2"),
        elsewhere(threads=3),
    ]

    assert len({one.fingerprint for one in [HERE, *others]}) == 6


def test_a_name_beyond_ascii_has_a_fingerprint() -> None:
    assert len(elsewhere(machine="Größe").fingerprint) == 4


def test_this_machines_arithmetic_is_described() -> None:
    found = cpu_arithmetic("CPUExecutionProvider", "onnxruntime 1.31.1", 4)

    assert found.threads == 4
    assert found.machine
    assert found == cpu_arithmetic("CPUExecutionProvider", "onnxruntime 1.31.1", 4)


def test_features_that_choose_no_kernel_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "cpu_flags", lambda: frozenset({"fma", "avx", "ht", "avx2", "rdrand"}))
    one = cpu_arithmetic("p", "l 1", 1)
    monkeypatch.setattr(arithmetic, "cpu_flags", lambda: frozenset({"avx2", "avx", "fma"}))

    assert cpu_arithmetic("p", "l 1", 1) == one
    assert one.instructions == "avx fma avx2"


def test_where_features_are_unknown_the_processor_stands_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "cpu_flags", frozenset)
    monkeypatch.setattr(arithmetic.platform, "processor", lambda: "Family 6 Model 158")

    assert cpu_arithmetic("p", "l 1", 1).instructions == "Family 6 Model 158"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threads": 8},
        {"threads": 96},
        {"library": "onnxruntime 1.22.1"},
        {"instructions": "avx fma avx2", "threads": 16},
        {"machine": "Linux aarch64", "instructions": "asimd", "threads": 4},
        {"machine": "Linux aarch64", "instructions": "asimd sve", "library": "onnxruntime 1.25.0", "threads": 12},
    ],
    ids=str,
)
def test_a_usual_machine_is_recognised_by_its_fingerprint(changes: dict[str, Any]) -> None:
    other = elsewhere(**changes)

    assert written_by(other.fingerprint, HERE) == other


def test_an_unusual_machine_is_not_guessed() -> None:
    assert written_by(elsewhere(machine="VMS VAX").fingerprint, HERE) is None


def test_a_difference_names_what_differs() -> None:
    assert difference(elsewhere(threads=8), HERE) == "threads 8 instead of 2"
    text = difference(elsewhere(instructions="", library="onnxruntime 1.20.0"), HERE)
    assert text == (
        "library onnxruntime 1.20.0 instead of onnxruntime 1.31.1, instructions none instead of avx fma avx2 avx512f"
    )


def test_a_float_stream_names_its_arithmetic(bundle: Bundle) -> None:
    header = read_header(Session.open(bundle, backend=OnMachine(HERE)).encode(PHOTO))

    assert header.float_entropy
    assert header.arithmetic == HERE.fingerprint
    assert not header.seals_means


def test_the_same_arithmetic_reads_it(bundle: Bundle) -> None:
    data = Session.open(bundle, backend=OnMachine(HERE)).encode(PHOTO)

    Session.open(bundle, backend=OnMachine(elsewhere())).decode(data)


def test_another_arithmetic_refuses_it_and_says_what_differs(bundle: Bundle) -> None:
    data = Session.open(bundle, backend=OnMachine(elsewhere(threads=8))).encode(PHOTO)

    with pytest.raises(WrongArithmeticError, match="threads 8 instead of 2") as caught:
        Session.open(bundle, backend=OnMachine(HERE)).decode(data)

    assert caught.value.exit_code == 4
    assert HERE.sentence() in caught.value.expected
    assert elsewhere(threads=8).fingerprint.hex() in caught.value.got
    for way_out in ("--threads", "--entropy-path integer", "--float-streams any"):
        assert way_out in caught.value.hint


def test_an_unknown_arithmetic_is_refused_too(bundle: Bundle) -> None:
    data = Session.open(bundle, backend=OnMachine(elsewhere(machine="VMS VAX"))).encode(PHOTO)

    with pytest.raises(WrongArithmeticError, match="of none of the usual kinds"):
        Session.open(bundle, backend=OnMachine(HERE)).decode(data)


def test_any_float_stream_is_tried_when_asked(bundle: Bundle) -> None:
    data = Session.open(bundle, backend=OnMachine(elsewhere(threads=8))).encode(PHOTO)

    Session.open(bundle, backend=OnMachine(HERE), float_streams="any").decode(data)


def test_a_stream_that_is_tried_and_differs_says_who_wrote_it(bundle: Bundle) -> None:
    class Different(OnMachine):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            if graph.name == "step_02":
                run = loaded.run

                def shifted(inputs: Any) -> Any:
                    found = run(inputs)
                    return {**found, "index": np.minimum(found["index"] + np.uint8(1), np.uint8(63))}

                loaded.run = shifted  # type: ignore[method-assign]
            return loaded

    data = Session.open(bundle, backend=OnMachine(elsewhere(threads=8))).encode(PHOTO)

    with pytest.raises(DesynchronisedError) as caught:
        Session.open(bundle, backend=Different(HERE), float_streams="any").decode(data)

    assert (caught.value.step, caught.value.graph) == (3, "step_02")
    assert f"the float entropy path {bundle.manifest.entropy.identity[:8]}" in caught.value.hint
    assert elsewhere(threads=8).sentence() in caught.value.hint
    assert HERE.sentence() in caught.value.hint


def test_a_stream_that_does_not_say_is_read_as_before(bundle: Bundle) -> None:
    """What earlier versions wrote: no fingerprint, no step checks. The hash covers the header, so it is coded anew."""
    session = Session.open(bundle, backend=OnMachine(HERE), step_checks=False)
    session._rules = type(session._rules)(bundle.manifest, _Silent(), False, "refuse")  # type: ignore[arg-type]
    data = session.encode(PHOTO)

    assert data[3] == 0x01 | data[3] & 0x04, "the float flag and perhaps a zero map"
    Session.open(bundle, backend=OnMachine(elsewhere(threads=8))).decode(data)


class _Silent:
    fingerprint = b""


def test_a_fingerprint_that_was_exchanged_is_noticed(bundle: Bundle) -> None:
    """It is part of what the hash begins with: a forger of the CRC does not get a stream past the check and decoded."""
    written = Session.open(bundle, backend=OnMachine(elsewhere(threads=8))).encode(PHOTO)
    header = read_header(written)
    payload = written[-header.payload_bytes :]
    forged = stream_from_parts(dataclasses.replace(header, arithmetic=HERE.fingerprint), payload)

    assert header_start(read_header(forged)) != header_start(header)
    with pytest.raises(DesynchronisedError):
        Session.open(bundle, backend=OnMachine(HERE)).decode(forged)


@pytest.mark.parametrize("choice", ["", "all", "Any"])
def test_an_unknown_choice_lists_the_known(bundle: Bundle, choice: str) -> None:
    with pytest.raises(UsageError, match="refuse, any"):
        Session.open(bundle, backend=PocketBackend(), float_streams=choice)


def test_an_integer_stream_is_read_by_every_arithmetic(tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "bundle", task="view", mode="integer")
    data = Session.open(folder, backend=OnMachine(HERE)).encode(PHOTO)

    other = Session.open(folder, backend=OnMachine(elsewhere(threads=8, machine="VMS VAX")))
    assert other.encode(PHOTO) == data
    other.decode(data)


def test_the_coder_itself_does_not_look_at_it(bundle: Bundle) -> None:
    """``ptp inspect`` and a server's front door read such a stream without a backend."""
    session = Session.open(bundle, backend=OnMachine(HERE))

    assert StreamDecoder(session.encode(PHOTO), session._tables).header.arithmetic == HERE.fingerprint
