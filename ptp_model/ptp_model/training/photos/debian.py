"""Download pinned Debian packages with apt and unpack them without installing anything."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ptp_model.errors import ModelError

_HASH_BLOCK_BYTES = 1 << 20


class PackageError(ModelError):
    """A package that cannot be downloaded here, or whose bytes are not the pinned ones."""


@dataclass(frozen=True)
class DebianPackage:
    """One pinned package: its name, Debian version and the SHA-256 of the ``.deb``."""

    name: str
    version: str
    sha256: str


def download(package: DebianPackage, folder: Path) -> Path:
    """Return the verified ``.deb`` of the package in ``folder``, downloading it when it is not there yet.

    Raises:
        PackageError: no apt on this machine, the archive no longer has this version, or other bytes came.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = _find(package, folder)
    if found is None:
        _apt_download(package, folder)
        found = _find(package, folder)
    if found is None:
        raise PackageError(f"{package.name}: apt-get download of {package.version} left no .deb in {folder}")
    digest = _sha256(found)
    if digest != package.sha256:
        raise PackageError(
            f"{found.name}: expected SHA-256 {package.sha256}; got {digest}; delete the file and download it again"
        )
    return found


def unpack(deb: Path, folder: Path) -> None:
    """Extract the package's files below ``folder`` (no maintainer script runs)."""
    folder.mkdir(parents=True, exist_ok=True)
    _run(["dpkg-deb", "-x", str(deb), str(folder)], what=f"unpack {deb.name}")


def _find(package: DebianPackage, folder: Path) -> Path | None:
    # apt writes a version's epoch colon as %3a in the file name.
    version = package.version.replace(":", "%3a")
    return next(iter(sorted(folder.glob(f"{package.name}_{version}_*.deb"))), None)


def _apt_download(package: DebianPackage, folder: Path) -> None:
    wanted = f"{package.name}={package.version}"
    _run(["apt-get", "download", wanted], what=f"download {wanted} (try `apt-get update` first)", folder=folder)


def _run(command: list[str], *, what: str, folder: Path | None = None) -> None:
    if shutil.which(command[0]) is None:
        raise PackageError(f"cannot {what}: {command[0]} is not on this machine; Debian or a derivative is needed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 (a fixed program)
    if done.returncode != 0:
        raise PackageError(f"cannot {what}: {done.stderr.strip() or f'exit code {done.returncode}'}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
