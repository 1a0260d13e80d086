"""Some thousand damaged inputs for each reader, and proof that the fuzzer itself notices what it looks for."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.bitstream.header import stream_from_parts
from ptp_runtime.errors import CorruptStreamError

pytestmark = pytest.mark.runtime

HEADER = StreamHeader(identity=b"abcd", task=1, width=64, height=64, steps=2, lanes=8)


def _fuzz(repository: Path, *options: str, code: str = "") -> tuple[int, dict[str, dict[str, object]]]:
    run = ["-c", code] if code else ["-m", "tests.fuzz"]
    done = subprocess.run(
        [sys.executable, *run, *options], cwd=repository, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout, done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout)


def test_no_reader_of_foreign_bytes_fails(repository: Path) -> None:
    few = ("--target", "session", "--target", "images", "--target", "http", "--count", "150", "--traced", "10")
    many = ("--target", "coder", "--target", "header", "--target", "bundle", "--count", "2000")

    for code, results in (_fuzz(repository, *few), _fuzz(repository, *many)):
        assert {name: result["faults"] for name, result in results.items() if result["faults"]} == {}
        assert code == 0
        for result in results.values():
            outcomes = result["outcomes"]
            assert isinstance(outcomes, dict)
            assert sum(count for outcome, count in outcomes.items() if outcome != "read") > 100 * (len(outcomes) > 3)


def test_the_fuzzer_notices(repository: Path) -> None:
    code = (
        "from tests.fuzz.targets import Header\n"
        "from tests.fuzz.__main__ import main\n"
        "calls = []\n"
        "def read(self, data):\n"
        "    calls.append(data)\n"
        "    number = len(calls) - len(self.samples)\n"
        "    if number == 1: raise KeyError('no type of ours')\n"
        "    if number == 2: raise MemoryError\n"
        "    if number == 3: bytearray(1 << 20)\n"
        "Header.read = read\n"
        "main(['--target', 'header', '--count', '4', '--traced', '1'])\n"
    )

    status, results = _fuzz(repository, code=code)

    faults = results["header"]["faults"]
    assert isinstance(faults, list)
    assert status == 1
    assert [fault["number"] for fault in faults] == [0, 1, 2]
    for fault, expected in zip(faults, ("KeyError", "MemoryError", "bytes of memory, bound"), strict=True):
        assert expected in fault["fault"]


def test_an_input_can_be_made_again(repository: Path) -> None:
    options = ("--target", "coder", "--count", "200", "--seed", "7")

    first, second = (_fuzz(repository, *options)[1]["coder"]["outcomes"] for _ in range(2))

    assert first == second


def test_a_header_alone_asks_for_nothing() -> None:
    """A stream that claims four billion pixels is read, and refused, without memory for one of them."""
    start = stream_from_parts(HEADER, b"")
    assert read_header(start).payload_bytes == 0
    chance = random.Random(0)

    for _ in range(300):
        data = bytearray(start)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        with pytest.raises(Exception, match=r".") as caught:
            read_header(bytes(data))
        assert caught.type.__module__ == CorruptStreamError.__module__
