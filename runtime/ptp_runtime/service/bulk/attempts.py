"""Where workers broke, told by files, because whoever goes on may be another process on another machine.

::

    DEST/at/000012.5f0c…        one attempt at shard 12: a line for each photo, written before it is worked on

An attempt whose file is still there was broken off at the photo of its last line. A new run begins without any: that a
driver was killed is nobody's fault.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

_FOLDER = "at"


def forget_attempts(destination: Path) -> None:
    """Remove the files of all attempts."""
    shutil.rmtree(destination / _FOLDER, ignore_errors=True)


class Attempts:
    """The attempts at one shard.

    Args:
        destination: of the run.
        number: of the shard.
    """

    def __init__(self, destination: Path, number: int) -> None:
        self._folder = destination / _FOLDER
        self._folder.mkdir(exist_ok=True)
        self._name = f"{number:06d}"
        self._mine: Path | None = None
        self.photo = ""

    def earlier(self) -> list[str]:
        """Key of the photo at which each earlier attempt broke; empty where it was at none."""
        return [_last(path) for path in self._files()]

    def begin(self) -> None:
        """One more attempt."""
        self.photo = ""
        self._mine = self._folder / f"{self._name}.{uuid.uuid4().hex}"
        self._mine.touch()

    def at(self, photo: str) -> None:
        """The attempt has come to this photo."""
        self.photo = photo
        if self._mine is not None:
            # Closed each time: only then do other machines see it on a network file system.
            with self._mine.open("a", encoding="ascii") as file:
                file.write(json.dumps(photo) + "\n")

    def end(self) -> None:
        """The shard is done."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}.*"))


def _last(path: Path) -> str:
    lines = path.read_text(encoding="ascii").split("\n")
    # What follows the last line end was not written to its end: the attempt had not begun with it.
    return str(json.loads(lines[-2])) if len(lines) > 1 else ""
