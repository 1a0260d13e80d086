"""A segmentation bundle beside JPEG at equal bytes, through the same teacher, photo by photo."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptp_export.evaluation.fidelity import feature_error, mean_iou, pixel_agreement
from ptp_export.evaluation.jpeg import jpeg_with_at_least
from ptp_model.teachers import Teacher, upsample_logits
from ptp_runtime.errors import UsageError
from ptp_runtime.images import load_image
from ptp_runtime.session import Session
from ptp_runtime.tasks import Segmentation


@dataclass(frozen=True)
class Fidelity:
    """One codec on one photo.

    Attributes:
        bits_per_pixel: real bytes over the pixels of the photo the codec was given.
        feature_error: ‖h - ĥ‖² / ‖h - mean(h)‖².
        pixel_agreement: share of pixels with the teacher's class.
        mean_iou: against the teacher's mask, over the classes of either.
    """

    bits_per_pixel: float
    feature_error: float
    pixel_agreement: float
    mean_iou: float


@dataclass(frozen=True)
class Comparison:
    """Both codecs on one photo; JPEG never has fewer bytes."""

    photo: str
    width: int
    height: int
    ours: Fidelity
    jpeg: Fidelity
    jpeg_quality: int


@torch.no_grad()
def compare(session: Session, teacher: Teacher, photos: Iterable[Path], rate: int | None = None) -> list[Comparison]:
    """Run both codecs on each photo.

    Args:
        session: a ``seg`` bundle.
        teacher: the bundle's teacher, whole.
        rate: of a bundle with several; None: its default.

    Raises:
        UsageError: the bundle is of another task.
    """
    if session.manifest.task.name != "seg":
        raise UsageError(
            "this comparison is of masks", expected="a bundle of task seg", got=f"task {session.manifest.task.name}"
        )
    rows = []
    for path in photos:
        pixels = load_image(path, convert=True)
        height, width = pixels.shape[:2]
        h, mask = _teacher(teacher, pixels)
        encoded = session.encode_detailed(pixels, rate=rate)
        decoded = session.decode_detailed(encoded.data)
        if not isinstance(decoded.output, Segmentation):
            raise UsageError("the session decoded something else than a mask")
        jpeg = jpeg_with_at_least(pixels, len(encoded.data))
        jpeg_h, jpeg_mask = _teacher(teacher, jpeg.pixels)
        ours = _fidelity(len(encoded.data), h, decoded.tensors["h"], mask, decoded.output.mask)
        theirs = _fidelity(jpeg.size_bytes, h, jpeg_h, mask, jpeg_mask)
        rows.append(Comparison(path.name, width, height, ours, theirs, jpeg.quality))
    return rows


def _teacher(teacher: Teacher, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The teacher's feature [1, F, h, w] and its mask [H, W] of a photo."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    h = teacher.stem(image)
    logits = teacher.tail(h)
    if isinstance(logits, tuple):
        raise UsageError("a detector was given where a segmenter is compared")
    mask = upsample_logits(logits, (pixels.shape[0], pixels.shape[1])).argmax(1)[0]
    return h.numpy(), mask.to(torch.uint8).numpy()


def _fidelity(
    size_bytes: int,
    h: NDArray[np.float32],
    h_hat: NDArray[np.float32],
    mask: NDArray[np.uint8],
    mask_hat: NDArray[np.uint8],
) -> Fidelity:
    bits = 8 * size_bytes / mask.size
    return Fidelity(bits, feature_error(h, h_hat), pixel_agreement(mask, mask_hat), mean_iou(mask, mask_hat))
