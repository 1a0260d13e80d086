"""Engines run only where somebody vouches for them: a pin, a signature, or the word ``any``."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from ptp_runtime.backends.selection import _OPENERS
from ptp_runtime.bundle import Bundle
from ptp_runtime.cli import main
from ptp_runtime.errors import AlteredFileError, UntrustedBundleError, UsageError
from ptp_runtime.manifest import EngineEntry, json_from_manifest, manifest_from_json
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session
from ptp_runtime.signing import SIGNATURE_NAME
from ptp_runtime.trust import admitted, manifest_digest

PLAN = b"code for a GPU"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with an engine."""
    folder = write_pocket_bundle(tmp_path / "bundle")
    (folder / "engines").mkdir()
    (folder / "engines/head.plan").write_bytes(PLAN)
    engine = EngineEntry(
        file="engines/head.plan",
        role="head",
        graph="head",
        target="tensorrt",
        precision="fp32",
        sha256=hashlib.sha256(PLAN).hexdigest(),
        built_with="10.12",
        devices=(),
        profile={},
    )
    _rewrite(folder, engine)
    return folder


def _rewrite(folder: Path, engine: EngineEntry) -> None:
    manifest = manifest_from_json((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(json_from_manifest(dataclasses.replace(manifest, engines=(engine,))))


class _Engines(PocketBackend):
    """Stands for TensorRT: takes the graphs whatever the engines hold, and counts."""

    loaded = 0

    @property
    def name(self) -> str:
        return "tensorrt"

    def load(self, bundle, graph):  # type: ignore[no-untyped-def]
        type(self).loaded += bundle.engine(graph.name, "tensorrt") is not None
        return super().load(bundle, graph)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> type[_Engines]:
    """A machine whose TensorRT works, with a CPU beside it."""
    monkeypatch.setitem(_OPENERS, "tensorrt", lambda threads: _Engines())
    monkeypatch.setitem(_OPENERS, "cpu", lambda threads: PocketBackend())
    monkeypatch.setattr("ptp_runtime.backends.selection._open_cpu", lambda threads: PocketBackend())
    monkeypatch.setattr(_Engines, "loaded", 0)
    return _Engines


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public one, as the page says to make them."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_without_trust_auto_leaves_engines_aside_and_says_so_once(
    folder: Path, machine: type[_Engines], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        Session.open(folder).close()

    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert machine.loaded == 0
    assert len(said) == 1
    assert "nobody vouches" in said[0]
    assert hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() in said[0]


def test_without_trust_engines_asked_for_by_name_are_refused(folder: Path, machine: type[_Engines]) -> None:
    with pytest.raises(UntrustedBundleError, match="engines are code") as caught:
        Session.open(folder, "tensorrt")

    assert "--trust sha256:" in caught.value.hint
    assert machine.loaded == 0


@pytest.mark.parametrize("form", ["{}", "sha256:{}"])
@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_a_pinned_bundle_runs_its_engines(folder: Path, machine: type[_Engines], form: str, backend: str) -> None:
    pin = form.format(manifest_digest(Bundle.open(folder)))

    with Session.open(folder, backend, trust=pin) as session:
        assert session.backend.backend.name == "tensorrt"
    assert machine.loaded == 1


def test_an_exchanged_engine_is_refused_though_the_manifest_was_made_to_fit(
    folder: Path, machine: type[_Engines], keys: tuple[Path, Path]
) -> None:
    pin = manifest_digest(Bundle.open(folder))
    assert main(["sign", str(folder), "--key", str(keys[0])]) == 0
    evil = b"other code"
    (folder / "engines/head.plan").write_bytes(evil)
    with pytest.raises(AlteredFileError):
        Session.open(folder, trust=pin)
    manifest = manifest_from_json((folder / "manifest.json").read_bytes())
    _rewrite(folder, dataclasses.replace(manifest.engines[0], sha256=hashlib.sha256(evil).hexdigest()))

    for trust in (pin, keys[1]):
        for backend in ("auto", "tensorrt", "cpu"):
            with pytest.raises(UntrustedBundleError):
                Session.open(folder, backend, trust=trust)
    assert machine.loaded == 0


def test_a_signed_bundle_runs_its_engines(
    folder: Path, machine: type[_Engines], keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", str(folder), "--key", str(keys[0])]) == 0

    assert f"sha256:{manifest_digest(Bundle.open(folder))}" in capsys.readouterr().out
    assert (folder / SIGNATURE_NAME).stat().st_size == 64
    assert Bundle.open(folder).unlisted() == ()
    Session.open(folder, trust=keys[1]).close()
    assert machine.loaded == 1


@pytest.mark.parametrize("spoil", ["absent", "short", "long", "flipped", "of another key"])
def test_another_signature_is_refused(folder: Path, keys: tuple[Path, Path], tmp_path: Path, spoil: str) -> None:
    assert main(["sign", str(folder), "--key", str(keys[0])]) == 0
    file, public = folder / SIGNATURE_NAME, keys[1]
    data = file.read_bytes()
    if spoil == "absent":
        file.unlink()
    elif spoil == "of another key":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        file.write_bytes(Ed25519PrivateKey.generate().sign((folder / "manifest.json").read_bytes()))
    else:
        file.write_bytes({"short": data[:-1], "long": data + b"\0", "flipped": bytes([data[0] ^ 1]) + data[1:]}[spoil])

    with pytest.raises(UntrustedBundleError):
        admitted(Bundle.open(folder), "auto", public)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_said(folder: Path, tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("cryptography")
    (folder / SIGNATURE_NAME).write_bytes(bytes(64))
    (tmp_path / "key.pem").write_bytes(content)

    for trust in (tmp_path / "key.pem", tmp_path / "absent.pem", "abc"):
        with pytest.raises(UsageError, match="cannot be used as a key"):
            admitted(Bundle.open(folder), "auto", trust)
    with pytest.raises(UsageError, match="cannot be used as a key"):
        main_or_raise(folder, tmp_path / "key.pem")


def main_or_raise(folder: Path, key: Path) -> None:
    from ptp_runtime.signing import sign_manifest

    sign_manifest((folder / "manifest.json").read_bytes(), key)


def test_a_manifest_exchanged_after_the_opening_is_noticed(folder: Path) -> None:
    bundle = Bundle.open(folder)
    pin = manifest_digest(bundle)
    _rewrite(folder, dataclasses.replace(bundle.manifest.engines[0], built_with="10.13"))

    with pytest.raises(AlteredFileError, match="changed while"):
        admitted(bundle, "auto", pin)


def test_a_bundle_without_engines_needs_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = Bundle.open(write_pocket_bundle(tmp_path / "bundle"))

    assert admitted(bundle, "auto", None) is bundle
    assert caplog.records == []


def test_keys_of_openssl_are_taken(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, public = tmp_path / "o.pem", tmp_path / "p.pem"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    subprocess.run([openssl, "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)

    assert main(["sign", str(folder), "--key", str(key)]) == 0
    assert admitted(Bundle.open(folder), "tensorrt", public).manifest.engines
