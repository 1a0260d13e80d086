"""What a fresh process does before its first result, and how much memory it takes."""

from ptp_runtime.profiling.cold.cold_start import ColdStart, cold_start

__all__ = ["ColdStart", "cold_start"]
