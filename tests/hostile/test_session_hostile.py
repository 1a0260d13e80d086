"""A stream that was damaged, cut or swapped gives a typed error from the session, never a wrong picture."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.bundle import Bundle
from ptp_runtime.coder import StreamDecoder
from ptp_runtime.errors import (
    BundleError,
    DesynchronisedError,
    InexactBackendError,
    NotAStreamError,
    StreamError,
    TruncatedStreamError,
    WrongModelError,
)
from ptp_runtime.manifest import FileEntry, entropy_identity, json_from_manifest, manifest_from_json
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module", params=["float", "integer"])
def mode(request: pytest.FixtureRequest) -> str:
    """Of the entropy path."""
    return str(request.param)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, mode: str) -> Session:
    """Of a pocket bundle."""
    folder = tmp_path_factory.mktemp("hostile") / "bundle"
    return Session.open(write_pocket_bundle(folder, task="view", mode=mode), backend=PocketBackend())


@pytest.fixture(scope="module")
def stream(session: Session) -> bytes:
    """Of a noisy photo."""
    return session.encode(np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8))


def test_the_good_stream_is_good(session: Session, stream: bytes) -> None:
    session.decode(stream)


def test_nothing_is_no_stream(session: Session) -> None:
    with pytest.raises(NotAStreamError):
        session.decode(b"")


def test_another_file_is_no_stream(session: Session) -> None:
    with pytest.raises(NotAStreamError):
        session.decode(b"\x89PNG\r\n\x1a\n" + bytes(100))


def test_every_truncation_is_refused(session: Session, stream: bytes) -> None:
    for length in range(1, len(stream), 7):
        with pytest.raises(StreamError):
            session.decode(stream[:length])
    with pytest.raises(TruncatedStreamError):
        session.decode(stream[:-1])


def test_an_appended_byte_is_refused(session: Session, stream: bytes) -> None:
    with pytest.raises(StreamError):
        session.decode(stream + b"\0")


@settings(max_examples=150, deadline=None)
@given(where=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(session: Session, stream: bytes, where: int, bit: int) -> None:
    flipped = bytearray(stream)
    flipped[where % len(stream)] ^= 1 << bit

    with pytest.raises(StreamError):
        session.decode(bytes(flipped))


def test_a_backend_that_computes_otherwise_is_noticed(tmp_path: Path, stream: bytes, mode: str) -> None:
    """The same bundle, one scale index off by one in one place: what two GPUs may do to one another."""

    class OtherBackend(PocketBackend):
        def load(self, bundle: Bundle, graph):  # type: ignore[no-untyped-def]
            loaded = super().load(bundle, graph)
            if graph.name == "step_02":
                run = loaded.run

                def shifted(inputs):  # type: ignore[no-untyped-def]
                    outputs = run(inputs)
                    index = outputs["index"].copy()
                    # A position that step_02 codes (an anchor), and an index that stays a table's.
                    index[0, 1, 1, 1] ^= 1
                    return {**outputs, "index": index}

                loaded.run = shifted  # type: ignore[method-assign]
            return loaded

    folder = write_pocket_bundle(tmp_path / "bundle", task="view", mode=mode)
    if mode == "integer":
        with pytest.raises(InexactBackendError, match="'step_02'"):
            Session.open(folder, backend=OtherBackend())
        return
    session = Session.open(folder, backend=OtherBackend())

    with pytest.raises(DesynchronisedError, match="in step 3"):
        session.decode(stream)


def test_the_end_of_every_stream_is_verified(session: Session, stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference in the last symbols shows nowhere else."""

    def finish(_: StreamDecoder) -> None:
        raise DesynchronisedError("the last lane does not come out")

    monkeypatch.setattr(StreamDecoder, "finish", finish)

    with pytest.raises(DesynchronisedError, match="last lane"):
        session.decode(stream)


def test_a_missing_task_of_the_same_codec_is_refused(tmp_path: Path, stream: bytes) -> None:
    session = Session.open(write_pocket_bundle(tmp_path / "bundle", task="seg"), backend=PocketBackend())

    with pytest.raises(WrongModelError) as caught:
        session.decode(stream)

    assert caught.value.hint


def test_tables_of_another_model_are_refused(tmp_path: Path) -> None:
    """A manifest that was sealed again around other channels: the digests agree, the parts do not."""
    folder = write_pocket_bundle(tmp_path / "bundle")
    manifest = manifest_from_json((folder / "manifest.json").read_bytes())
    other = dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, hyper_channels=3))
    (folder / "manifest.json").write_bytes(json_from_manifest(other))

    with pytest.raises(WrongModelError, match="do not fit the manifest"):
        Session.open(folder, backend=PocketBackend())


def test_spoiled_tables_are_refused_though_every_digest_was_made_to_fit(tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "bundle")
    (folder / "tables.bin").write_bytes(b"not tables")
    manifest = manifest_from_json((folder / "manifest.json").read_bytes())
    tables = FileEntry("tables.bin", hashlib.sha256(b"not tables").hexdigest())
    identity = entropy_identity(
        mode=manifest.entropy.mode,
        tables_sha256=tables.sha256,
        probability_bits=manifest.entropy.probability_bits,
        skip_index=manifest.entropy.skip_index,
        hyper_sha256=manifest.graph("hyper").sha256,
        schedule=manifest.entropy.schedule,
        step_sha256=[manifest.graph(step.graph).sha256 for step in manifest.entropy.schedule],
    )
    entropy = dataclasses.replace(manifest.entropy, tables=tables, identity=identity)
    (folder / "manifest.json").write_bytes(json_from_manifest(dataclasses.replace(manifest, entropy=entropy)))

    with pytest.raises(BundleError):
        Session.open(folder, backend=PocketBackend())


def test_a_bundle_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Session.open(tmp_path, backend=PocketBackend())
