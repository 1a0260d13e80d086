"""The codec's grid of features lies where the teacher's lies, whatever the photo's size modulo 4.

A convolution that averages what a cell of the teacher's stem looks at stands for the codec: shift the photo by the
padding of the specification, and both see the same pixels.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptp_model.spec import preset
from ptp_model.teachers import build
from ptp_runtime.images import network_input


@pytest.mark.parametrize("height", [96, 97, 98, 99])
@pytest.mark.parametrize("width", [120, 121, 122, 123])
def test_padded_photo_has_the_teachers_features(height: int, width: int) -> None:
    teacher = build("efficientnet-lite0", "seg")
    lead = preset("tiny").lead_multiple
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 255, (17, 21, 3)), np.ones((6, 6, 1)))[:height, :width].astype(np.uint8)
    with torch.no_grad():
        h = teacher.stem(torch.from_numpy(smooth.copy()).permute(2, 0, 1)[None].float() / 255)
        padded = teacher.stem(torch.from_numpy(network_input(smooth, 64, lead)))[:, :, : h.shape[2], : h.shape[3]]
        unshifted = teacher.stem(torch.from_numpy(network_input(smooth, 64, 1)))[:, :, : h.shape[2], : h.shape[3]]
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(padded[inner], h[inner], rtol=1e-4, atol=1e-4)
    if height % 4 or width % 4:
        assert not torch.allclose(unshifted[inner], h[inner], rtol=1e-1, atol=1e-1)
