"""The golden test of an integer entropy path: stored inputs and what every exact machine computes from them."""

from ptp_runtime.golden.stored import GOLDEN_LIMIT, GoldenStep, GoldenTest, value_digest

__all__ = ["GOLDEN_LIMIT", "GoldenStep", "GoldenTest", "value_digest"]
