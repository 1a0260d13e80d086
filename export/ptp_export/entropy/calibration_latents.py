"""What the entropy path sees on the calibration photographs, at every rate."""

from __future__ import annotations

import torch

from ptp_calibration import PhotoSet
from ptp_calibration.integer_path import LatentSample
from ptp_export.oracle.photo_sizes import resized_photo
from ptp_export.oracle.reference import ReferenceChain
from ptp_runtime.manifest import DeclaredResize


def calibration_latents(chain: ReferenceChain, photos: PhotoSet, resize: DeclaredResize | None) -> list[LatentSample]:
    """Latents of every photo at every rate, from the analysis in torch.

    The photos keep their own sizes whatever size a bundle is for: bundles of one task that differ in size alone then
    have the same entropy path, and read each other's streams.

    Args:
        chain: the codec, with the task's prompts.
        photos: to calibrate on.
        resize: what the task declares.
    """
    codec = chain.codec
    rows = [gain for rate in range(codec.spec.rates) if (gain := codec.gain(rate)) is not None]
    gains = torch.cat(rows) if rows else None
    samples = []
    for photo in photos:
        # One analysis serves all rates: the gains multiply what it gives.
        y, z = chain.latents(resized_photo(photo.image, resize), gains)
        samples += [
            LatentSample(torch.round(z[rate]).to(torch.int32).numpy(), y[rate].contiguous().numpy())
            for rate in range(len(y))
        ]
    return samples
