"""The root of this package's errors; ``ptp_export`` turns them into its own."""

from __future__ import annotations


class CalibrationError(ValueError):
    """A photo set or a measurement that cannot be used: one sentence with expected, got and what to do."""
