"""ptp_runtime: encode photos to bytes and decode them to masks, boxes, classes or pictures, from a bundle.

Needs neither torch nor onnx. The names below are loaded when they are first used, so that importing the package
costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptp_runtime.bundle import Bundle
    from ptp_runtime.coding_results import Decoded, Encoded, Inference
    from ptp_runtime.errors import (
        BackendError,
        BundleError,
        ImageError,
        PtpError,
        StreamError,
        UsageError,
    )
    from ptp_runtime.images import load_image
    from ptp_runtime.session import Session
    from ptp_runtime.shared_session import SharedSession
    from ptp_runtime.tasks import Classification, Detections, Segmentation, View

_HOMES = {
    "BackendError": "ptp_runtime.errors",
    "Bundle": "ptp_runtime.bundle",
    "BundleError": "ptp_runtime.errors",
    "Classification": "ptp_runtime.tasks",
    "Decoded": "ptp_runtime.coding_results",
    "Detections": "ptp_runtime.tasks",
    "Encoded": "ptp_runtime.coding_results",
    "ImageError": "ptp_runtime.errors",
    "Inference": "ptp_runtime.coding_results",
    "PtpError": "ptp_runtime.errors",
    "Segmentation": "ptp_runtime.tasks",
    "Session": "ptp_runtime.session",
    "SharedSession": "ptp_runtime.shared_session",
    "StreamError": "ptp_runtime.errors",
    "UsageError": "ptp_runtime.errors",
    "View": "ptp_runtime.tasks",
    "load_image": "ptp_runtime.images",
}

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "Classification",
    "Decoded",
    "Detections",
    "Encoded",
    "ImageError",
    "Inference",
    "PtpError",
    "Segmentation",
    "Session",
    "SharedSession",
    "StreamError",
    "UsageError",
    "View",
    "load_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
