"""One bundle, several rates: the file of gains, the manifest's word about it, and sessions that use it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ptp_runtime import Session
from ptp_runtime.backends import selection
from ptp_runtime.bitstream import read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.cli import main
from ptp_runtime.errors import (
    AlteredFileError,
    BundleError,
    ManifestError,
    MissingFileError,
    UsageError,
    WrongModelError,
)
from ptp_runtime.manifest import (
    Manifest,
    RatesInfo,
    ScheduleEntry,
    dict_from_manifest,
    entropy_identity,
    json_from_manifest,
    manifest_from_json,
)
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.tasks import View

pytestmark = pytest.mark.runtime

#: Two rates of three channels, typed by hand: 0.5, 1, 2 and 1, 2, 4.
GOLDEN = bytes.fromhex("50545047 01 00 0200 0300 0000003f 0000803f 00000040 0000803f 00000040 00008040")


def _photo(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (70, 100, 3), dtype=np.uint8)


def _open(folder: Path, rates: int = 3, **options: Any) -> Session:
    return Session.open(write_pocket_bundle(folder, rates=rates, **options), backend=PocketBackend())


def test_the_file_is_as_the_page_says() -> None:
    gains = RateGains.from_bytes(GOLDEN)

    assert gains.gains.tolist() == [[0.5, 1, 2], [1, 2, 4]]
    assert gains.to_bytes() == GOLDEN
    assert gains.vector(1).shape == (1, 3, 1, 1)
    assert gains.vector(1).ravel().tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"PTPT" + GOLDEN[4:], "PTPG"),
        (GOLDEN[:4] + b"\x02" + GOLDEN[5:], "version 2"),
        (GOLDEN[:5] + b"\x01" + GOLDEN[6:], "reserved byte 1"),
        (GOLDEN[:-1], "33"),
        (GOLDEN + b"\0", "35"),
        (GOLDEN[:6] + struct.pack("<HH", 1, 6) + GOLDEN[10:], "2 to 255 rates"),
        (GOLDEN[:6] + struct.pack("<HH", 256, 0), "2 to 255 rates"),
        (GOLDEN[:6] + struct.pack("<HH", 2, 0), "2 to 255 rates"),
        (GOLDEN[:10] + struct.pack("<f", 0.0) + GOLDEN[14:], "above 0"),
        (GOLDEN[:10] + struct.pack("<f", -1.0) + GOLDEN[14:], "above 0"),
        (GOLDEN[:10] + struct.pack("<f", float("nan")) + GOLDEN[14:], "finite"),
        (GOLDEN[:10] + struct.pack("<f", float("inf")) + GOLDEN[14:], "finite"),
    ],
)
def test_any_other_file_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=r"rates\.bin cannot be used") as caught:
        RateGains.from_bytes(data)
    assert words in str(caught.value)


def test_gains_enter_the_identity_and_one_rate_leaves_it_as_it_was() -> None:
    facts: dict[str, Any] = {
        "mode": "float",
        "tables_sha256": "11" * 32,
        "probability_bits": 12,
        "skip_index": 2,
        "hyper_sha256": "22" * 32,
        "schedule": (ScheduleEntry("a", (0, 8), "all"),),
        "step_sha256": ["33" * 32],
    }
    text = (
        "ptp entropy identity 1\n"
        "mode float\n"
        f"tables {'11' * 32}\n"
        "probability_bits 12\n"
        "skip_index 2\n"
        f"rates {'44' * 32}\n"
        f"hyper {'22' * 32}\n"
        f"step 0 8 all {'33' * 32}\n"
    )
    assert entropy_identity(**facts, rates_sha256="44" * 32) == hashlib.sha256(text.encode()).hexdigest()
    assert entropy_identity(**facts) == entropy_identity(**facts, rates_sha256=None)
    assert len({entropy_identity(**facts, rates_sha256=digest) for digest in (None, "44" * 32, "55" * 32)}) == 3


def test_every_rate_makes_the_round_trip_through_one_session(tmp_path: Path) -> None:
    with _open(tmp_path / "bundle", task="view") as session:
        assert (session.rates, session.default_rate) == (3, 1)
        streams = [session.encode(_photo(), rate=rate) for rate in range(3)]
        assert [read_header(data).rate for data in streams] == [0, 1, 2]
        assert session.encode(_photo()) == streams[1]
        for rate in (2, 0, 1):
            sent = session.encode_detailed(_photo(), rate=rate)
            received = session.decode_detailed(streams[rate])
            assert sent.data == streams[rate]
            np.testing.assert_array_equal(sent.latents.y_int, received.latents.y_int)
        pictures = [session.decode(data) for data in streams]
    errors = []
    for picture in pictures:
        assert isinstance(picture, View)
        errors.append(picture.image)
    assert not np.array_equal(errors[0], errors[2]), "the gain is not read"


def test_the_analysis_multiplies_and_more_is_coded(tmp_path: Path) -> None:
    """The pocket model's gains are 1, 2, 4."""
    with _open(tmp_path / "bundle") as session:
        sent = [session.encode_detailed(_photo(), rate=rate) for rate in range(3)]
    for rate in (1, 2):
        np.testing.assert_array_equal(sent[rate].tensors["y"], sent[0].tensors["y"] * 2**rate)
    assert len(sent[0].data) < len(sent[1].data) < len(sent[2].data)


@pytest.mark.parametrize("rate", [-1, 3, 255, 256, True, 1.0, 1.5, "1"])
def test_a_rate_that_does_not_exist(rate: Any, tmp_path: Path) -> None:
    with _open(tmp_path / "bundle") as session, pytest.raises(UsageError, match=r"0 \(fewest bits\) to 2"):
        session.encode(_photo(), rate=rate)


def test_a_bundle_of_one_rate(tmp_path: Path) -> None:
    with _open(tmp_path / "bundle", rates=1) as session:
        assert (session.rates, session.default_rate) == (1, 0)
        assert session.encode(_photo(), rate=0) == session.encode(_photo())
        with pytest.raises(UsageError, match="has no rate 1"):
            session.infer(_photo(), rate=1)


def test_streams_do_not_cross_between_bundles_of_other_gains(tmp_path: Path) -> None:
    with _open(tmp_path / "four", rates=4) as four:
        data = four.encode(_photo(), rate=1)
    with _open(tmp_path / "three") as three, pytest.raises(WrongModelError):
        three.decode(data)


def test_a_stream_with_a_rate_beyond_the_bundles(tmp_path: Path) -> None:
    """Only a forged stream has one: the identity covers the gains."""
    with _open(tmp_path / "bundle") as session:
        encoded = session.encode_detailed(_photo(), rate=2)
        header = dataclasses.replace(read_header(encoded.data), rate=3)
        with pytest.raises(WrongModelError, match="rate 3"):
            session._rules.check(header)


def _damaged(folder: Path, content: bytes | None) -> Path:
    path = write_pocket_bundle(folder, rates=3)
    (path / "rates.bin").unlink() if content is None else (path / "rates.bin").write_bytes(content)
    return path


def test_a_missing_or_altered_file_of_gains(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"rates\.bin"):
        Session.open(_damaged(tmp_path / "missing", None), backend=PocketBackend())
    with pytest.raises(AlteredFileError, match=r"rates\.bin"):
        Session.open(_damaged(tmp_path / "altered", GOLDEN), backend=PocketBackend())


def _manifest(folder: Path, rates: int = 3) -> Manifest:
    return Bundle.open(write_pocket_bundle(folder, rates=rates)).manifest


def test_a_manifest_written_before_there_were_rates_stays_readable(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "bundle", rates=1)
    value = dict_from_manifest(manifest)
    assert value["entropy"].pop("rates") is None
    text = json.dumps(value | {"manifest_sha256": "0" * 64}, indent=2) + "\n"
    sealed = text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest())
    assert manifest_from_json(sealed.encode()) == manifest


def test_the_manifest_survives_the_file(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "bundle")
    assert manifest.entropy.rates is not None
    assert manifest_from_json(json_from_manifest(manifest)) == manifest


@pytest.mark.parametrize(
    ("count", "default", "words"),
    [(3, 3, "no rate of the bundle"), (3, -1, "no rate"), (1, 0, "out of range"), (256, 0, "out of range")],
)
def test_a_default_that_is_no_rate(count: int, default: int, words: str, tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "bundle")
    rates = manifest.entropy.rates
    assert rates is not None
    changed = RatesInfo(rates.file, rates.sha256, count, default)
    with pytest.raises(ManifestError, match=words):
        dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, rates=changed))


def test_gains_that_nothing_explains_are_refused(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "bundle")
    with pytest.raises(ManifestError):
        dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, rates=None))


@pytest.mark.parametrize("role", ["analysis", "synthesis"])
def test_graphs_that_ignore_the_gains_are_refused(role: str, tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "bundle")
    graphs = tuple(
        dataclasses.replace(graph, inputs=tuple(t for t in graph.inputs if t.name != "gain"))
        if graph.role == role
        else graph
        for graph in manifest.graphs
    )
    with pytest.raises(ManifestError, match="does not take their gains"):
        dataclasses.replace(manifest, graphs=graphs)


def test_gains_of_another_shape_than_the_manifest_says(tmp_path: Path) -> None:
    path = write_pocket_bundle(tmp_path / "bundle", rates=3)
    manifest = Bundle.open(path).manifest
    rates = manifest.entropy.rates
    assert rates is not None
    entropy = dataclasses.replace(manifest.entropy, rates=RatesInfo(rates.file, rates.sha256, 4, 0))
    (path / "manifest.json").write_bytes(json_from_manifest(dataclasses.replace(manifest, entropy=entropy)))
    with pytest.raises(WrongModelError, match="the gains do not fit"):
        Session.open(path, backend=PocketBackend())


def test_commands_take_a_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(selection._OPENERS, "cpu", lambda _: PocketBackend())
    monkeypatch.setattr(selection, "_open_cpu", lambda _: PocketBackend())
    bundle, photo = write_pocket_bundle(tmp_path / "bundle", rates=3), tmp_path / "photo.png"
    Image.fromarray(_photo()).save(photo)
    sizes = []
    for rate in ("0", "2"):
        stream = tmp_path / f"{rate}.ptp"
        assert main(["encode", str(bundle), str(photo), "-o", str(stream), "--rate", rate, "--backend", "cpu"]) == 0
        assert f"rate {rate} of 0 to 2" in capsys.readouterr().out
        assert read_header(stream.read_bytes()).rate == int(rate)
        sizes.append(stream.stat().st_size)
    assert sizes[0] < sizes[1]
    command = ["infer", str(bundle), str(photo), "-o", str(tmp_path / "out"), "--json", "--backend", "cpu"]
    assert main([*command, "--rate", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["rate"] == 1
    assert main([*command, "--rate", "3"]) != 0
    assert "has no rate 3" in capsys.readouterr().err


def test_inspect_names_the_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pocket_bundle(tmp_path / "bundle", rates=3)
    assert main(["inspect", str(path)]) == 0
    assert "3, of which 0 takes the fewest bits; 1 unless asked otherwise" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["entropy"]["rates"]["count"] == 3
