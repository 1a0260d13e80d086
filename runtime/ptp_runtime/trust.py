"""Whose engines may run: those of a bundle whose manifest the caller vouches for. See ``docs/security.md``.

An ONNX file is data. An engine is code for the GPU, and its library trusts it: whoever may choose an engine's bytes may
run what he likes. A digest inside the bundle proves only that the bundle is whole, so an engine is loaded when the
caller has said, from outside the bundle, which manifest or whose signature he means.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re

from ptp_runtime.backends import Backend
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import AlteredFileError, MissingFileError, UntrustedBundleError
from ptp_runtime.manifest import MANIFEST_NAME, manifest_from_json
from ptp_runtime.manifest.json_format import MANIFEST_LIMIT
from ptp_runtime.signing import SIGNATURE_BYTES, SIGNATURE_NAME, check_signature

ANY = "any"
"""What ``trust`` takes to load engines that nobody vouched for."""

ENGINE_BACKENDS = ("tensorrt", "tensorrt-rtx")

_PIN = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)
_log = logging.getLogger(__name__)
_said: set[str] = set()
"""Bundles whose engines were said to be left aside: once a process is enough."""


def admitted(bundle: Bundle, backend: str | Backend, trust: str | os.PathLike[str] | None) -> Bundle:
    """The bundle with its engines where they may be loaded, else without.

    Args:
        bundle: an opened bundle.
        backend: as for :meth:`Session.open <ptp_runtime.Session.open>`.
        trust: the SHA-256 of the manifest, the PEM file of an Ed25519 public key that signed it, or ``any``; None:
            nobody vouches for the bundle. ``auto`` then leaves its engines aside and says so once; a backend that
            runs nothing but engines is refused.

    Raises:
        UntrustedBundleError: the manifest is not the pinned one or the signed one, also where no engine is at stake;
            or engines were asked for by name, and nobody vouches for them.
        BundleError: the manifest or its signature cannot be read.
        UsageError: ``trust`` is neither a digest nor a key.
        MissingExtraError: a signature, and ``cryptography`` is not installed.
    """
    if trust is not None:
        if trust != ANY:
            require_trust(bundle, trust)
        return bundle
    if not bundle.manifest.engines or not isinstance(backend, str) or backend not in ("auto", *ENGINE_BACKENDS):
        # Nothing else loads an engine; what a backend of the caller's own does is the caller's business.
        return bundle
    digest = manifest_digest(bundle)
    if backend in ENGINE_BACKENDS:
        raise UntrustedBundleError(
            f"nobody vouches for the engines of {bundle.path}, and engines are code",
            expected="the digest of a manifest that you know, or the public key of whoever signed it",
            got="nothing",
            hint=f"if you made this bundle: --trust sha256:{digest}, in Python trust=…; or --backend auto, which needs"
            " no engines",
        )
    if str(bundle.path) not in _said:
        _said.add(str(bundle.path))
        _log.warning(
            "the engines of %s are left aside, because nobody vouches for them; the streams are the same. If you made"
            " the bundle: --trust sha256:%s",
            bundle.path,
            digest,
        )
    return without_engines(bundle)


def require_trust(bundle: Bundle, trust: str | os.PathLike[str]) -> None:
    """Refuse a bundle whose manifest is not the pinned or the signed one. Arguments and errors: :func:`admitted`."""
    data = manifest_bytes(bundle)
    pin = _PIN.fullmatch(os.fspath(trust))
    if pin is None:
        check_signature(data, _signature(bundle), trust)
        return
    digest = hashlib.sha256(data).hexdigest()
    if digest != pin[1].lower():
        raise UntrustedBundleError(
            f"{bundle.path} is not the bundle that was pinned",
            expected=f"a manifest with SHA-256 {pin[1].lower()}",
            got=digest,
            hint="ask whoever made the bundle; do not simply pin what came",
        )


def manifest_digest(bundle: Bundle) -> str:
    """The SHA-256 that pins a bundle, in hex: of its manifest, which lists that of every other file."""
    return hashlib.sha256(manifest_bytes(bundle)).hexdigest()


def without_engines(bundle: Bundle) -> Bundle:
    """The same bundle as if it had been exported for no engine."""
    if not bundle.manifest.engines:
        return bundle
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, engines=()))


def manifest_bytes(bundle: Bundle) -> bytes:
    """The manifest's bytes; those that the bundle was opened by, though the file was read a second time."""
    data = bundle.read_beside(MANIFEST_NAME, MANIFEST_LIMIT)
    # A bundle of several tasks vouches in its main manifest for those of the others.
    if manifest_from_json(data) != getattr(bundle, "main", bundle.manifest):
        raise AlteredFileError(
            f"{MANIFEST_NAME} changed while the bundle was in use",
            expected="the manifest that it was opened by",
            got="another",
            hint="open the bundle again",
        )
    return data


def _signature(bundle: Bundle) -> bytes:
    try:
        data = bundle.read_beside(SIGNATURE_NAME, SIGNATURE_BYTES)
    except MissingFileError:
        raise UntrustedBundleError(
            f"the bundle {bundle.path} is not signed",
            expected=SIGNATURE_NAME,
            got="no such file",
            hint="ptp sign BUNDLE --key KEY, on the machine that made it",
        ) from None
    if len(data) != SIGNATURE_BYTES:
        raise UntrustedBundleError(
            f"{SIGNATURE_NAME} is no signature",
            expected=f"{SIGNATURE_BYTES} bytes",
            got=f"{len(data)} or more",
            hint="sign the bundle again: ptp sign BUNDLE --key KEY",
        )
    return data
