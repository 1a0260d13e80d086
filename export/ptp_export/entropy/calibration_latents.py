"""What the entropy path sees on the calibration photographs, at every rate."""

from __future__ import annotations

import torch

from ptp_calibration import PhotoSet
from ptp_calibration.integer_path import LatentSample
from ptp_export.oracle.photo_sizes import fit_photo, resized_photo
from ptp_export.oracle.reference import ReferenceChain
from ptp_export.sizes import Size
from ptp_runtime.manifest import DeclaredResize


def calibration_latents(
    chain: ReferenceChain, photos: PhotoSet, size: Size | None, resize: DeclaredResize | None
) -> list[LatentSample]:
    """Latents of every photo at every rate, from the analysis in torch.

    Args:
        chain: the codec, with the task's prompts.
        photos: to calibrate on.
        size: of a static export; None: the photos' own.
        resize: what the task declares.
    """
    codec = chain.codec
    rows = [gain for rate in range(codec.spec.rates) if (gain := codec.gain(rate)) is not None]
    gains = torch.cat(rows) if rows else None
    samples = []
    for photo in photos:
        # One analysis serves all rates: the gains multiply what it gives.
        y, z = chain.latents(resized_photo(fit_photo(photo.image, size, resize), resize), gains)
        samples += [
            LatentSample(torch.round(z[rate]).to(torch.int32).numpy(), y[rate].contiguous().numpy())
            for rate in range(len(y))
        ]
    return samples
