"""Probabilities and the likeliest classes from a classifier's logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import ClassificationParameters
from ptp_runtime.tasks.results import Classification


def classification_from_logits(
    logits: npt.NDArray[np.float32], parameters: ClassificationParameters, classes: tuple[str, ...]
) -> Classification:
    """Softmax over all classes, in float64, and the best; the smaller class number wins a tie.

    Args:
        logits: float32 [classes].
        parameters: from the manifest.
        classes: the names.

    Raises:
        EngineError: the logits have another number of classes than there are names.
    """
    if logits.shape != (len(classes),):
        raise EngineError(
            "the head's logits have another shape",
            expected=f"{len(classes)} classes",
            got=" × ".join(str(n) for n in logits.shape) or "a single number",
            hint="export the bundle again",
        )
    shifted = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities = (shifted / shifted.sum()).astype(np.float32)
    labels = np.argsort(-logits, kind="stable")[: parameters.top].astype(np.int64)
    return Classification(labels, probabilities[labels], probabilities, classes)
