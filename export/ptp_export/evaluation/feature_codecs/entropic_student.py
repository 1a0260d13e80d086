"""Entropic Student as a rival: one trained checkpoint a rate (see :mod:`ptp_model.baselines.entropic_student`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptp_export.evaluation.feature_codecs.protocol import RivalFeatureCodec
from ptp_export.evaluation.rival import require_sides
from ptp_model.baselines.student_checkpoint import StudentCheckpoint, load, stem_digest
from ptp_model.errors import ModelError
from ptp_model.spec import TEACHERS
from ptp_model.teachers import Teacher
from ptp_runtime.errors import CheckpointError, UsageError
from ptp_runtime.images import network_input

#: Its kernels of 2 leave nothing of a smaller picture.
_SMALLEST = 5


class EntropicStudentCodec:
    """Students of one teacher, by increasing β; the number of a rate is its place in that order.

    The bytes are those of compressai's rANS coder and nothing else: the picture's size is told to the decoder for
    nothing. A picture is padded as for our codec, though only to multiples of 4.

    Args:
        checkpoints: by increasing β.
    """

    name = "Entropic Student"

    def __init__(self, checkpoints: Sequence[StudentCheckpoint]) -> None:
        self._checkpoints = tuple(checkpoints)
        self._lead = TEACHERS[checkpoints[0].student.teacher].lead_multiple

    @property
    def settings(self) -> str:
        """What was trained, and what counts."""
        rates = ", ".join(
            f"{number}: β {found.beta:g}, {found.provenance.get('steps', '?')} steps, weights {found.sha256[:16]}"
            for number, found in enumerate(self._checkpoints)
        )
        return f"Matsubara et al., WACV 2022, first stage of training; compressai's rANS coder, payload alone; {rates}"

    @property
    def qualities(self) -> Sequence[int]:
        """See :class:`~ptp_export.evaluation.feature_codecs.protocol.RivalFeatureCodec`."""
        return range(len(self._checkpoints))

    def encode(self, pixels: NDArray[Any], quality: int) -> bytes:
        """See the protocol.

        Raises:
            UnsupportedImageError: a side of less than 5 pixels.
        """
        require_sides(pixels, _SMALLEST, "Entropic Student", "--entropic-student")
        image = torch.from_numpy(network_input(pixels, 4, self._lead))
        return self._checkpoints[quality].student.compress(image)

    @torch.no_grad()
    def decode(self, data: bytes, size: tuple[int, int], quality: int) -> NDArray[np.float32]:
        """See the protocol."""
        student = self._checkpoints[quality].student
        h: NDArray[np.float32] = student.synthesis(student.decompress(data, *size)).numpy()
        return h


def entropic_students(folders: Sequence[Path], teacher: Teacher) -> tuple[RivalFeatureCodec, ...]:
    """The students in these folders as one rival; none where there are no folders.

    Args:
        folders: as ``ptp train entropic-student`` wrote them.
        teacher: the judge; all students must have been trained to imitate its stem.

    Raises:
        CheckpointError: a folder that cannot be used, or a student of another teacher.
        UsageError: two students of one β.
    """
    if not folders:
        return ()
    found, stem = [], stem_digest(teacher)
    for folder in folders:
        try:
            student = load(folder)
        except ModelError as error:
            raise CheckpointError(f"the Entropic Student {folder} cannot be used", got=str(error)) from error
        if student.stem_sha256 != stem:
            raise CheckpointError(
                f"the Entropic Student {folder} imitates another teacher",
                expected=f"{teacher.spec.name} with a stem of SHA-256 {stem[:16]}…",
                got=f"{student.student.teacher}, {student.stem_sha256[:16]}…",
                hint="train one with this teacher",
            )
        found.append(student)
    found.sort(key=lambda student: student.beta)
    betas = [student.beta for student in found]
    if len(set(betas)) < len(betas):
        raise UsageError(
            "two Entropic Students of one rate", expected="another β each", got=", ".join(f"{b:g}" for b in betas)
        )
    return (EntropicStudentCodec(found),)
