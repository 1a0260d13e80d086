"""Where the time goes: measuring a bundle stage by stage, and telling what was found."""

from ptp_runtime.profiling.comparison import Comparison, compare
from ptp_runtime.profiling.measure import Photo, made_picture
from ptp_runtime.profiling.request import ProfileRequest, make_profile
from ptp_runtime.profiling.schema import read_profile
from ptp_runtime.profiling.windows import StabilityRule

__all__ = [
    "Comparison",
    "Photo",
    "ProfileRequest",
    "StabilityRule",
    "compare",
    "made_picture",
    "make_profile",
    "read_profile",
]
