"""Files are written beside, synced and renamed: a full disk or a lost process leaves the earlier file as it was."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ptp_model.errors import NotSavedError


def write_beside(path: Path, data: bytes) -> None:
    """Replace a file by these bytes, wholly or not at all.

    Raises:
        NotSavedError: the disk is full, or the folder cannot be written to; the earlier file is still there.
    """
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # what is half written only takes up room
            beside.unlink()
        raise NotSavedError(
            f"{path}: expected room for {len(data) / 1e6:.1f} MB, got: {error.strerror}; make room there"
        ) from error
