"""Compiled loops of the tasks; imported only where one is needed, because numba is slow to import."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(
    "void(float32[:, :, ::1], int64[::1], int64[::1], float32[::1],"
    " int64[::1], int64[::1], float32[::1], uint8[:, ::1])",
    cache=True,
    nogil=True,
)
def argmax_of_resized(logits, top, bottom, down, left, right, along, mask):  # type: ignore[no-untyped-def]
    """For each pixel of ``mask``, the class whose bilinearly resized logit is the largest; the smaller on a tie.

    Args:
        logits: [classes, oh, ow].
        top, bottom, down: for each output row, the two input rows and the weight of the second.
        left, right, along: likewise for the columns.
        mask: [H, W], written.
    """
    classes, _, narrow = logits.shape
    height, width = mask.shape
    # One row of resized-in-height logits, pixel by pixel, so that the inner loop over classes runs along memory.
    row = np.empty((narrow, classes), np.float32)
    one = np.float32(1)
    for y in range(height):
        upper, lower = one - down[y], down[y]
        for c in range(classes):
            for x in range(narrow):
                row[x, c] = upper * logits[c, top[y], x] + lower * logits[c, bottom[y], x]
        for x in range(width):
            before, after = one - along[x], along[x]
            i, j = left[x], right[x]
            best = before * row[i, 0] + after * row[j, 0]
            winner = 0
            for c in range(1, classes):
                value = before * row[i, c] + after * row[j, c]
                if value > best:
                    best = value
                    winner = c
            mask[y, x] = winner
