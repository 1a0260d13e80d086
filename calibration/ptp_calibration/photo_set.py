"""Photos to measure on: hashed, with provenance, read again from the start as often as wanted.

Calibration data is data: its digest is recorded beside every figure that came from it, so that the photos a limit was
tuned on and the photos it is checked on can be told apart (after NNCF's range estimators).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ptp_calibration.errors import CalibrationError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Photo:
    """One file of a set.

    Attributes:
        name: file name, unique in its set.
        path: where it lies.
        sha256: of the file's bytes when the set was made.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Sample:
    """One decoded photo: ``image`` is uint8 [H, W, 3], RGB."""

    name: str
    sha256: str
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoSet:
    """An ordered set of photos. Iterating decodes one photo at a time and can be repeated.

    Attributes:
        provenance: where the photos come from, for the reader of a report.
        photos: in the order of their names.
    """

    provenance: str
    photos: tuple[Photo, ...]

    @classmethod
    def from_files(cls, files: Iterable[Path], provenance: str) -> PhotoSet:
        """Hash the files.

        Raises:
            CalibrationError: none given, two of one name, or one that cannot be read.
        """
        photos: dict[str, Photo] = {}
        for path in sorted(files, key=lambda file: file.name):
            if path.name in photos:
                raise CalibrationError(f"two photos are called {path.name}; expected different names in one set")
            photos[path.name] = Photo(path.name, path, hashlib.sha256(_read(path)).hexdigest())
        if not photos:
            raise CalibrationError(
                f"no photo in the set ({provenance}); expected at least one of {', '.join(SUFFIXES)}"
            )
        return cls(provenance, tuple(photos.values()))

    @classmethod
    def from_folder(cls, folder: Path, provenance: str = "") -> PhotoSet:
        """All photos directly in a folder.

        Raises:
            CalibrationError: no folder, or no photo in it.
        """
        if not folder.is_dir():
            raise CalibrationError(f"{folder} is no folder; expected a folder with photos")
        files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
        return cls.from_files(files, provenance or f"the folder {folder.name}")

    @property
    def digest(self) -> str:
        """SHA-256 over the photos' digests in order: two sets with equal digests hold equal photos."""
        return hashlib.sha256("".join(photo.sha256 for photo in self.photos).encode()).hexdigest()

    def without(self, digests: Iterable[str]) -> PhotoSet:
        """The set less every photo whose SHA-256 is in ``digests``; it may be empty."""
        excluded = frozenset(digests)
        return PhotoSet(self.provenance, tuple(photo for photo in self.photos if photo.sha256 not in excluded))

    def require_disjoint(self, other: PhotoSet) -> None:
        """Raise :class:`CalibrationError` if a photo is in both sets, whatever it is called there."""
        shared = {photo.sha256 for photo in self.photos} & {photo.sha256 for photo in other.photos}
        if shared:
            names = [photo.name for photo in self.photos if photo.sha256 in shared]
            raise CalibrationError(
                f"{len(shared)} photos are in both sets ({', '.join(names[:4])}); expected disjoint sets: what a limit "
                "was tuned on cannot check it"
            )

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Sample]:
        for photo in self.photos:
            data = _read(photo.path)
            if hashlib.sha256(data).hexdigest() != photo.sha256:
                raise CalibrationError(f"{photo.name} changed since the set was made; make the set again")
            yield Sample(photo.name, photo.sha256, _decode(photo.path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path.name} cannot be read ({error.strerror}); expected a photo") from error


def _decode(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise CalibrationError(f"{path.name} cannot be decoded ({error}); expected a photo") from error
