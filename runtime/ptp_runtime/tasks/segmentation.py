"""The mask from low-resolution logits: bilinear resize and argmax in one pass, without the full-size logits.

At 4096×4096 and 21 classes the resized logits alone would take 1.4 GB; the kernel keeps one row of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import EngineError
from ptp_runtime.resample import linear_weights
from ptp_runtime.tasks.results import Segmentation


def segmentation_from_logits(
    logits: npt.NDArray[np.float32], height: int, width: int, classes: tuple[str, ...]
) -> Segmentation:
    """The class of the largest resized logit for each pixel; the smaller class number wins a tie.

    Args:
        logits: float32 [classes, oh, ow].
        height: of the photo, pixels.
        width: likewise.
        classes: the names.

    Raises:
        EngineError: the logits have another number of classes than there are names.
    """
    if logits.ndim != 3 or logits.shape[0] != len(classes) or 0 in logits.shape:
        raise EngineError(
            "the head's logits have another shape",
            expected=f"{len(classes)} classes × rows × columns",
            got=" × ".join(str(n) for n in logits.shape),
            hint="export the bundle again",
        )
    # numba takes a third of a second to import: only where a mask is made.
    from ptp_runtime.tasks.kernels import argmax_of_resized

    rows = linear_weights(height, logits.shape[1])
    columns = linear_weights(width, logits.shape[2])
    mask = np.empty((height, width), np.uint8)
    argmax_of_resized(np.ascontiguousarray(logits, np.float32), *rows, *columns, mask)
    return Segmentation(mask, classes)
