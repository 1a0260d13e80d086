"""The photos that precision is found on: never those that it is checked on."""

from __future__ import annotations

from pathlib import Path

from ptp_calibration import CalibrationError, PhotoSet
from ptp_export.oracle.photo_groups import shipped_set
from ptp_runtime.errors import UsageError

#: Fewer say nothing of the photos to come.
LEAST_PHOTOS = 4


def calibration_photos(folder: Path | None) -> PhotoSet:
    """The shipped set, or a user's folder.

    Raises:
        UsageError: no folder, too few photos, one that cannot be read, or one that ``ptp verify`` checks with.
    """
    if folder is None:
        return shipped_set("calibration")
    try:
        photos = PhotoSet.from_folder(folder)
        photos.require_disjoint(shipped_set("parity"))
        # Each is decoded once here, so that a damaged one is named before minutes of work.
        count = sum(1 for _ in photos)
    except CalibrationError as error:
        raise UsageError("these photos cannot calibrate", got=str(error), hint="give real photos") from error
    if count < LEAST_PHOTOS:
        raise UsageError(
            f"too few photos to calibrate on in {folder}",
            expected=f"at least {LEAST_PHOTOS}; some 32 of the kind that will be coded are good",
            got=str(count),
        )
    return photos
