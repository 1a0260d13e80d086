"""A golden test that was damaged, cut, swapped or made up gives a typed error, and asks for no memory first."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.errors import AlteredFileError, BundleError, ManifestError, MissingFileError
from ptp_runtime.golden import GOLDEN_LIMIT, GoldenTest
from ptp_runtime.manifest import FileEntry, GraphEntry, Manifest, json_from_manifest, manifest_from_json
from ptp_runtime.manifest.checks import entropy_identity
from ptp_runtime.selftest import PocketBackend, PocketModel, write_pocket_bundle
from ptp_runtime.selftest.pocket_golden import pocket_golden
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime

TEST = pocket_golden(PocketModel("view", "checkerboard", "integer"))
DATA = TEST.to_bytes()
HEAD = struct.Struct("<4sBBHHBBH")


def headed(**changes: int | bytes) -> bytes:
    """The good file with other fields in its head."""
    names = ("magic", "version", "reserved", "z", "m", "rows", "columns", "steps")
    fields = dict(zip(names, HEAD.unpack_from(DATA), strict=True)) | changes
    return HEAD.pack(*fields.values()) + DATA[HEAD.size :]


def test_the_good_file_is_good() -> None:
    assert headed() == DATA
    assert GoldenTest.from_bytes(DATA).digest == TEST.digest


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begins with PTPX"),
        (b"PTPX", "the head"),
        (headed(magic=b"PTPT"), "begins with PTPX"),
        (headed(version=2), "version 2"),
        (headed(reserved=1), "reserved byte 1"),
        (headed(z=0), "channels"),
        (headed(m=0), "channels"),
        (headed(rows=0), "rows and columns"),
        (headed(columns=17), "rows and columns"),
        (headed(steps=0), "steps"),
        (headed(steps=256), "steps"),
        (headed(z=65535), "z_hat"),
        (headed(m=65535, rows=16, columns=16), "golden.bin cannot be read"),
        (headed(steps=255), "step 4"),
        (headed(steps=3), f"got {len(DATA)}"),
        (DATA + b"\0", f"got {len(DATA) + 1}"),
    ],
    ids=str,
)
def test_a_head_that_lies_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=r"golden\.bin cannot be read") as caught:
        GoldenTest.from_bytes(data)

    assert reason in str(caught.value)
    assert caught.value.hint


def test_every_truncation_is_refused() -> None:
    for length in range(0, len(DATA), 5):
        with pytest.raises(BundleError):
            GoldenTest.from_bytes(DATA[:length])


@settings(max_examples=300, deadline=None)
@given(where=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_another_test_or_none(where: int, bit: int) -> None:
    """It may hit a stored value, which only the digest in the manifest can tell; never another exception."""
    flipped = bytearray(DATA)
    flipped[where] ^= 1 << bit
    try:
        other = GoldenTest.from_bytes(flipped)
    except BundleError:
        return
    assert other.to_bytes() == bytes(flipped)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise_behind_a_good_head_is_refused(noise: bytes) -> None:
    with pytest.raises(BundleError):
        GoldenTest.from_bytes(DATA[: HEAD.size] + noise)


def test_no_count_asks_for_memory() -> None:
    """65535 channels of 64 × 64 positions would be half a gigabyte; the file has some kB."""
    tracemalloc.start()
    for lie in (headed(m=65535, rows=16, columns=16), headed(z=65535), headed(steps=255)):
        with pytest.raises(BundleError):
            GoldenTest.from_bytes(lie)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20


def test_a_file_beyond_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(BundleError, match=f"at most {GOLDEN_LIMIT} bytes"):
        GoldenTest.from_bytes(memoryview(bytes(GOLDEN_LIMIT + 1)))


@pytest.mark.parametrize("count", [1025, 65535])
def test_more_digests_than_there_may_be_are_refused(count: int) -> None:
    at = HEAD.size + 2 * TEST.z_hat.size + 2 * TEST.q.size

    with pytest.raises(BundleError, match="at most 1024"):
        GoldenTest.from_bytes(DATA[:at] + struct.pack("<H", count) + DATA[at + 2 :])


def test_a_name_given_twice_is_refused() -> None:
    doubled = DATA.replace(b"\x07part_01", b"\x07part_00", 1)

    assert doubled != DATA
    with pytest.raises(BundleError, match="'part_00' twice"):
        GoldenTest.from_bytes(doubled)


@pytest.mark.parametrize("name", [b"part 01", b"part\xff01", b"part\x0001"])
def test_a_name_that_is_none_is_refused(name: bytes) -> None:
    with pytest.raises(BundleError, match="printable ASCII"):
        GoldenTest.from_bytes(DATA.replace(b"part_01", name, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An integer bundle."""
    return write_pocket_bundle(tmp_path / "bundle", task="view", mode="integer")


def _open(folder: Path) -> None:
    Session.open(folder, backend=PocketBackend()).close()


def _manifest(folder: Path) -> Manifest:
    return manifest_from_json((folder / "manifest.json").read_bytes())


def _sealed(folder: Path, data: bytes) -> None:
    """Another golden.bin, and a manifest whose digest is made to fit."""
    (folder / "golden.bin").write_bytes(data)
    manifest = _manifest(folder)
    golden = FileEntry("golden.bin", hashlib.sha256(data).hexdigest())
    other = dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, golden=golden))
    (folder / "manifest.json").write_bytes(json_from_manifest(other))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "golden.bin").unlink()

    with pytest.raises(MissingFileError, match=r"golden\.bin"):
        _open(folder)


def test_an_altered_file_is_named(folder: Path) -> None:
    (folder / "golden.bin").write_bytes(DATA[:-1] + b"!")

    with pytest.raises(AlteredFileError, match=r"golden\.bin"):
        _open(folder)


@pytest.mark.parametrize("data", [b"", b"PTPX", DATA[:-1], DATA + b"\0"], ids=["empty", "magic", "cut", "longer"])
def test_a_spoiled_file_is_refused_though_the_digest_was_made_to_fit(folder: Path, data: bytes) -> None:
    _sealed(folder, data)

    with pytest.raises(BundleError, match=r"golden\.bin cannot be read"):
        _open(folder)


def test_a_huge_file_is_refused_without_being_read_whole(folder: Path) -> None:
    _sealed(folder, bytes(GOLDEN_LIMIT + 2))

    with pytest.raises(BundleError, match=r"golden\.bin is too large"):
        _open(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda test: dataclasses.replace(test, steps=test.steps[:-1]),
        lambda test: dataclasses.replace(test, steps=test.steps[::-1]),
        lambda test: dataclasses.replace(test, z_hat=test.z_hat[:1]),
        lambda test: dataclasses.replace(test, q=np.concatenate([test.q, test.q])),
        lambda test: dataclasses.replace(test, outputs={}),
        lambda test: dataclasses.replace(test, outputs={**test.outputs, "mu_hyper": 1}),
        lambda test: dataclasses.replace(test, steps=(dataclasses.replace(test.steps[0], outputs={}), *test.steps[1:])),
        lambda test: dataclasses.replace(
            test, steps=(test.steps[0], dataclasses.replace(test.steps[1], outputs={"x": 1}), *test.steps[2:])
        ),
    ],
    ids=[
        "a step less",
        "steps in another order",
        "fewer channels of z",
        "more channels of y",
        "no part tested",
        "a tensor that no step reads",
        "a context that is not tested",
        "an output that does not exist",
    ],
)
def test_a_test_of_another_path_is_refused(folder: Path, change: Callable[[GoldenTest], GoldenTest]) -> None:
    """Above all one that leaves a tensor out: it would let an inexact backend pass."""
    _sealed(folder, change(TEST).to_bytes())

    with pytest.raises(BundleError, match="belongs to another entropy path"):
        _open(folder)


def test_a_float_path_has_no_golden_test(tmp_path: Path) -> None:
    manifest = _manifest(write_pocket_bundle(tmp_path / "bundle"))

    with pytest.raises(ManifestError, match=r"entropy\.golden belongs to an integer entropy path"):
        dataclasses.replace(
            manifest, entropy=dataclasses.replace(manifest.entropy, golden=FileEntry("golden.bin", "ab" * 32))
        )


def test_a_manifest_without_the_field_is_an_older_one(folder: Path) -> None:
    manifest = _manifest(folder)
    older = dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, golden=None))
    text = json_from_manifest(older).decode()

    assert '"golden": null' in text
    assert manifest_from_json(_resealed(text.replace(',\n    "golden": null', ""))) == older


def _resealed(text: str) -> bytes:
    head, _, tail = text.rpartition('"manifest_sha256": "')
    blank = head + '"manifest_sha256": "' + "0" * 64 + tail[64:]
    digest = hashlib.sha256(blank.encode()).hexdigest()
    return (head + '"manifest_sha256": "' + digest + tail[64:]).encode()


def _with_graph(manifest: Manifest, name: str, change: Callable[[GraphEntry], GraphEntry]) -> Manifest:
    graphs = tuple(change(graph) if graph.name == name else graph for graph in manifest.graphs)
    return dataclasses.replace(manifest, graphs=graphs)


def test_an_output_listed_twice_is_refused(folder: Path) -> None:
    with pytest.raises(ManifestError, match="lists the output of the graph 'step_00': 'index' twice"):
        _with_graph(_manifest(folder), "step_00", lambda g: dataclasses.replace(g, outputs=(*g.outputs, g.outputs[0])))


def test_an_input_listed_twice_is_refused(folder: Path) -> None:
    with pytest.raises(ManifestError, match="lists the input of the graph 'step_01': 'part_01' twice"):
        _with_graph(_manifest(folder), "step_01", lambda g: dataclasses.replace(g, inputs=(*g.inputs, g.inputs[0])))


@pytest.mark.parametrize("name", ["part_03", "context_01", "y_int", "z_hat", "mu_hyper"])
def test_a_tensor_that_two_graphs_give_is_refused(folder: Path, name: str) -> None:
    """Which of the two would a step read?"""

    def renamed(graph: GraphEntry) -> GraphEntry:
        *kept, last = graph.outputs
        return dataclasses.replace(graph, outputs=(*kept, dataclasses.replace(last, name=name)))

    with pytest.raises(ManifestError, match=f"gives '{name}', which exists already"):
        _with_graph(_manifest(folder), "step_02", renamed)


def test_a_context_is_not_read_before_it_is_given(folder: Path) -> None:
    def early(graph: GraphEntry) -> GraphEntry:
        later = dataclasses.replace(graph.inputs[0], name="context_03")
        return dataclasses.replace(graph, inputs=(*graph.inputs, later))

    with pytest.raises(ManifestError, match="'step_00' takes inputs that the runtime does not have"):
        _with_graph(_manifest(folder), "step_00", early)


def test_a_context_of_another_dtype_is_refused(folder: Path) -> None:
    def halved(graph: GraphEntry) -> GraphEntry:
        *kept, context = graph.inputs
        return dataclasses.replace(graph, inputs=(*kept, dataclasses.replace(context, dtype="float16")))

    with pytest.raises(ManifestError, match="takes inputs that the runtime does not have"):
        _with_graph(_manifest(folder), "step_01", halved)


def test_an_integer_step_does_not_read_real_units(folder: Path) -> None:
    def real(graph: GraphEntry) -> GraphEntry:
        return dataclasses.replace(graph, inputs=(*graph.inputs, dataclasses.replace(graph.inputs[0], name="mu_hyper")))

    with pytest.raises(ManifestError, match="takes inputs that the runtime does not have"):
        _with_graph(_manifest(folder), "step_00", real)


def test_the_golden_test_is_not_part_of_the_identity(folder: Path) -> None:
    """Another stimulus, the same streams."""
    manifest = _manifest(folder)

    assert manifest.entropy.identity == entropy_identity(
        mode="integer",
        tables_sha256=manifest.entropy.tables.sha256,
        probability_bits=12,
        skip_index=manifest.entropy.skip_index,
        hyper_sha256=manifest.graph("hyper").sha256,
        schedule=manifest.entropy.schedule,
        step_sha256=[manifest.graph(step.graph).sha256 for step in manifest.entropy.schedule],
    )
