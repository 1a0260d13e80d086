"""Lets torchvision be imported when its compiled operators do not fit the installed torch.

torchvision registers shape functions for ``torchvision::nms`` and ``torchvision::qnms`` while it is being imported, and
that fails with *operator torchvision::nms does not exist* when its compiled library cannot be loaded: a torchvision
built
for CUDA beside a CPU-only torch. Nothing of what we take from torchvision (ResNet, FPN, DeepLab and RetinaNet heads)
needs
compiled operators, so this module defines the two names **only when they are absent**, and gives ``nms`` a CPU kernel.

Import this module before torchvision (``ptp_model/__init__.py`` does). Importing it twice is harmless.

``torchvision.ops.nms`` keeps refusing in that situation because it asks for the compiled library by name; use
``torch.ops.torchvision.nms``, or better the post-processing in numpy that the runtime owns.
"""

from __future__ import annotations

import contextlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# A library's definitions live as long as the object, so it is kept here.
_library: torch.library.Library | None = None


def nms_cpu(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: [n, 4] floating point, (x1, y1, x2, y2) in pixels.
        scores: [n] floating point.
        iou_threshold: a box is dropped when its intersection over union with a kept, higher-scored box is above it.

    Returns:
        int64 [k], the kept boxes' indices by decreasing score; equal scores keep the order of the input.

    Raises:
        RuntimeError: the shapes do not fit (the class that the compiled operator raises).
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise RuntimeError(
            f"nms: expected boxes [n, 4] and scores [n], got {list(boxes.shape)} and {list(scores.shape)}"
        )
    x1, y1, x2, y2 = boxes.unbind(1)
    area = (x2 - x1) * (y2 - y1)
    remaining = torch.sort(scores, descending=True, stable=True).indices
    kept: list[torch.Tensor] = []
    while remaining.numel() > 0:
        best, rest = remaining[0], remaining[1:]
        kept.append(best)
        width = (torch.minimum(x2[best], x2[rest]) - torch.maximum(x1[best], x1[rest])).clamp(min=0)
        height = (torch.minimum(y2[best], y2[rest]) - torch.maximum(y1[best], y1[rest])).clamp(min=0)
        overlap = width * height
        iou = overlap / (area[best] + area[rest] - overlap)
        # Written as "not above" so that the undefined 0/0 of two empty boxes suppresses nothing.
        remaining = rest[~(iou > iou_threshold)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)


def _compiled_library() -> Path | None:
    """Where torchvision's compiled operators are, without importing torchvision."""
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder) / f"_C{suffix}"
            if path.is_file():
                return path
    return None


def ensure() -> bool:
    """Make ``torchvision::nms`` and ``torchvision::qnms`` exist.

    torchvision's own compiled library is tried first, as torchvision itself would: defining the names before a
    library that does load would make it fail on a double registration.

    Returns:
        True when our definitions are in use, False when torchvision brought its own.
    """
    global _library
    if _library is not None:
        return True
    path = _compiled_library()
    if path is not None:
        # An OSError is the very case this module exists for: a library built for another torch.
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
    missing = [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in missing:
        library.define(name + _SIGNATURE)  # type: ignore[no-untyped-call]
    if "nms" in missing:
        library.impl("nms", nms_cpu, "CPU")  # type: ignore[no-untyped-call]
    _library = library
    return True


ensure()
