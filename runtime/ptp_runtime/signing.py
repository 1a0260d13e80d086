"""Ed25519 signatures of a bundle's manifest, which in its turn lists the digest of every file.

Keys are PEM files, as ``openssl genpkey -algorithm ed25519`` writes them. The signature is the file ``manifest.sig``:
64 bytes over :data:`_CONTEXT` and the bytes of ``manifest.json``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_runtime.errors import MissingExtraError, UntrustedBundleError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_NAME = "manifest.sig"
SIGNATURE_BYTES = 64
_CONTEXT = b"ptp bundle manifest, 1\0"
"""Goes before what is signed: a signature of something else by the same key says nothing about a bundle."""
_KEY_LIMIT = 1 << 16
_HINT = "make a pair: openssl genpkey -algorithm ed25519 -out KEY; openssl pkey -in KEY -pubout -out PUBLIC"


def sign_manifest(manifest: bytes, key: str | os.PathLike[str]) -> bytes:
    """The signature of a manifest.

    Args:
        manifest: the bytes of ``manifest.json``.
        key: PEM file of an Ed25519 private key, without a password.

    Raises:
        UsageError: no such key.
        MissingExtraError: ``cryptography`` is not installed.
    """
    return _private(key).sign(_CONTEXT + manifest)


def check_signature(manifest: bytes, signature: bytes, key: str | os.PathLike[str]) -> None:
    """Refuse a manifest that the key did not sign.

    Args:
        manifest: the bytes of ``manifest.json``.
        signature: of ``manifest.sig``.
        key: PEM file of an Ed25519 public key.

    Raises:
        UntrustedBundleError: the signature is not of this manifest by this key.
        UsageError: no such key.
        MissingExtraError: ``cryptography`` is not installed.
    """
    public = _public(key)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, _CONTEXT + manifest)
    except InvalidSignature:
        raise UntrustedBundleError(
            "the bundle's signature is not that of this key",
            expected=f"{SIGNATURE_NAME} by the key of {key}, over this manifest",
            got="another signature",
            hint="do not use its engines; ask whoever made the bundle, or sign it again: ptp sign BUNDLE --key KEY",
        ) from None


def _private(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_pem(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "a private key in PEM, without a password", str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "an Ed25519 private key", type(key).__name__)
    return key


def _public(path: str | os.PathLike[str]) -> Ed25519PublicKey:
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_pem(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "a public key in PEM", str(error)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "an Ed25519 public key", type(key).__name__)
    return key


def _require_library() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "signatures need a package that is not installed",
            expected="the extra 'sign'",
            got=str(error),
            hint="pip install 'ptp-deploy[sign]'; or pin the manifest's digest, which needs nothing",
        ) from error


def _pem(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_KEY_LIMIT)
    except OSError as error:
        raise _no_key(path, "a key in PEM", error.strerror or str(error)) from error


def _no_key(path: str | os.PathLike[str], expected: str, got: str) -> UsageError:
    return UsageError(f"{path} cannot be used as a key", expected=expected, got=got, hint=_HINT)
