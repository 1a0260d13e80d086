"""A manifest that is wrong in any single way gives one typed error that names the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.errors import AlteredFileError, BundleError, ManifestError
from ptp_runtime.manifest import json_from_manifest, manifest_from_json
from ptp_runtime.selftest import write_pocket_bundle

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good manifest, for detection: it has every kind of field."""
    bundle = write_pocket_bundle(tmp_path_factory.mktemp("manifest") / "bundle", task="det")
    return (bundle / "manifest.json").read_bytes()


def _edited(data: bytes, path: str, value: Any) -> bytes:
    """The manifest with one field changed, or removed where the value is Ellipsis."""
    document = json.loads(data)
    *parents, last = path.split(".")
    place = document
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return json.dumps(document).encode()


def _paths(value: Any, prefix: str = "") -> list[str]:
    """Every field of the document, as dotted paths; the free-form parts only as a whole."""
    found = []
    if isinstance(value, dict):
        for key, child in value.items():
            path = f"{prefix}{key}"
            found.append(path)
            if path not in ("model.spec", "tools", "audit"):
                found += _paths(child, path + ".")
    elif isinstance(value, list) and value:
        found += _paths(value[0], f"{prefix}0.")
    return found


def test_every_field_is_required(data: bytes) -> None:
    # Manifests that are older than the choice of rates, or than the integer path, lack these.
    paths = [path for path in _paths(json.loads(data)) if path not in ("entropy.rates", "entropy.golden")]
    assert len(paths) > 60

    for path in paths:
        with pytest.raises(ManifestError) as caught:
            manifest_from_json(_edited(data, path, ...))
        assert path.rpartition(".")[2] in str(caught.value), path


@pytest.mark.parametrize("wrong", [None, True, 3.5, -1, "", [], [None], {}, {"x": 1}, "x" * 100_000, 10**30])
def test_every_field_has_one_type(data: bytes, wrong: Any) -> None:
    """A value of another type or out of range is refused; one that happens to be allowed breaks the seal."""
    for path in _paths(json.loads(data)):
        with pytest.raises(BundleError):
            manifest_from_json(_edited(data, path, wrong))


@pytest.mark.parametrize(
    "path", ["", "task.", "task.postprocessing.", "entropy.", "entropy.tables.", "graphs.0.", "preprocessing."]
)
def test_an_unknown_field_is_refused(data: bytes, path: str) -> None:
    with pytest.raises(ManifestError, match=r"surprise is unknown"):
        manifest_from_json(_edited(data, f"{path}surprise", 1))


@pytest.mark.parametrize("version", [0, 2, 99, "1", 1.0, True, None])
def test_another_schema_is_refused_before_anything_else(data: bytes, version: Any) -> None:
    broken = json.loads(_edited(data, "schema_version", version))
    del broken["graphs"]

    with pytest.raises(ManifestError, match="expected schema_version 1"):
        manifest_from_json(json.dumps(broken).encode())


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside",
        "graphs/../../outside",
        "graphs//head.onnx",
        "./head.onnx",
        "graphs/",
        "C:/head.onnx",
        "graphs\\head.onnx",
        "head\x00.onnx",
        "head\n.onnx",
        "manifest.json",
        ".",
        "..",
    ],
)
@pytest.mark.parametrize("field", ["graphs.0.file", "entropy.tables.file"])
def test_a_path_out_of_the_bundle_is_refused(data: bytes, field: str, path: str) -> None:
    with pytest.raises(ManifestError, match="outside the bundle"):
        manifest_from_json(_edited(data, field, path))


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "g" * 64, "ab" * 33, 7])
def test_a_digest_is_64_lower_case_digits(data: bytes, digest: Any) -> None:
    with pytest.raises(ManifestError, match=r"graphs\[0\]\.sha256"):
        manifest_from_json(_edited(data, "graphs.0.sha256", digest))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"manifest"',
        b"\xff\xfe{}",
        b'{"schema_version": NaN}',
        b'{"schema_version": Infinity}',
        b'{"schema_version": 1, "schema_version": 1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"PK\x03\x04" + bytes(100),
        b'{"schema_version": ' + b"9" * 5_000 + b"}",
    ],
    ids=range(13),
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestError):
        manifest_from_json(raw)


def test_a_number_beyond_the_floats_is_refused(data: bytes) -> None:
    text = _edited(data, "task.postprocessing.nms_threshold", 0.123).replace(b"0.123", b"1e999")

    with pytest.raises(ManifestError, match="nms_threshold"):
        manifest_from_json(text)


def test_a_huge_file_is_refused_unread() -> None:
    with pytest.raises(ManifestError, match="too large"):
        manifest_from_json(bytes((16 << 20) + 1))


def test_a_changed_value_breaks_the_seal(data: bytes) -> None:
    with pytest.raises(AlteredFileError, match=r"manifest\.json was changed"):
        manifest_from_json(data.replace(b'"red"', b'"rot"'))


def test_a_changed_space_breaks_the_seal(data: bytes) -> None:
    with pytest.raises(AlteredFileError, match=r"manifest\.json was changed"):
        manifest_from_json(data + b" ")


@settings(max_examples=150, deadline=None)
@given(where=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(data: bytes, where: int, bit: int) -> None:
    flipped = bytearray(data)
    flipped[where % len(data)] ^= 1 << bit

    with pytest.raises((ManifestError, AlteredFileError)):
        manifest_from_json(bytes(flipped))


@settings(max_examples=50, deadline=None)
@given(length=st.integers(0, 1 << 20))
def test_no_truncation_goes_unnoticed(data: bytes, length: int) -> None:
    with pytest.raises((ManifestError, AlteredFileError)):
        manifest_from_json(data[: length % len(data)])


def test_the_good_manifest_is_good(data: bytes, tmp_path: Path) -> None:
    assert json_from_manifest(manifest_from_json(data)) == data


@pytest.mark.parametrize(
    "resize",
    [
        {},
        {"shorter_side": 256},
        {"shorter_side": 256, "crop": 224},
        {"shorter_side": 256, "crop": 224, "interpolation": "nearest"},
        {"shorter_side": 256, "crop": 257, "interpolation": "bicubic"},
        {"shorter_side": 256, "crop": 0, "interpolation": "bicubic"},
        {"shorter_side": 256, "crop": 224, "interpolation": "bicubic", "longer_side": 4096},
        {"shorter_side": 256, "longer_side": 1333, "interpolation": "bilinear"},
        {"shorter_side": 0, "longer_side": 1333},
    ],
)
def test_a_resize_is_one_of_two_kinds(data: bytes, resize: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="resize"):
        manifest_from_json(_edited(data, "preprocessing.resize", resize))
