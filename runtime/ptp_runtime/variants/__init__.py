"""Several bundles of one task, and a policy that moves between them before the machine gets too hot or too slow."""

from ptp_runtime.variants.policy import Limits, ShiftingPolicy, Situation
from ptp_runtime.variants.situation import MachineSituation
from ptp_runtime.variants.variant_session import Shift, Variant, VariantSession

__all__ = [
    "Limits",
    "MachineSituation",
    "Shift",
    "ShiftingPolicy",
    "Situation",
    "Variant",
    "VariantSession",
]
