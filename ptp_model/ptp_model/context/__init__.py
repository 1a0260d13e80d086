"""SC-AR FCM, the spatial-channel auto-regressive feature context model, in two modes (section 3.1)."""

from __future__ import annotations

from ptp_model.context.checkerboard import CheckerboardContext
from ptp_model.context.schedule import ContextModel, Step
from ptp_model.context.zigzag import ZigzagContext
from ptp_model.spec import ModelSpec

__all__ = ["ContextModel", "Step", "context_model"]


def context_model(spec: ModelSpec) -> ContextModel:
    """The context model the specification asks for."""
    return CheckerboardContext(spec) if spec.context == "checkerboard" else ZigzagContext(spec)
