"""What this machine has, what is missing for which backend, and whether the chain works here. Prints nothing."""

from ptp_runtime.doctor.examine import examine
from ptp_runtime.doctor.finding import FAIL, NOTE, OK, Finding

__all__ = ["FAIL", "NOTE", "OK", "Finding", "examine"]
