"""The shipped photographs as sets: what may tune, and what may only check."""

from __future__ import annotations

from ptp_calibration import PhotoSet
from ptp_export.photos import Group, photos

_PROVENANCE = "photographs shipped with ptp-deploy, group {}; authors and licences in ptp_export/photos"


def shipped_set(group: Group) -> PhotoSet:
    """The photographs of one group.

    Raises:
        MissingFileError: a photograph is not in the installed package.
        AlteredFileError: a photograph's bytes are not the shipped ones.
    """
    return PhotoSet.from_files((photo.path for photo in photos(group)), _PROVENANCE.format(group))
