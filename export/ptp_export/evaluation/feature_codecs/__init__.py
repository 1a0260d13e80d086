"""Feature codecs as rivals: like ours they give the task's network h and no picture."""

from __future__ import annotations

from ptp_export.evaluation.feature_codecs.entropic_student import entropic_students
from ptp_export.evaluation.feature_codecs.protocol import RivalFeatureCodec

__all__ = ["RivalFeatureCodec", "entropic_students"]
