"""``ptp interop``: the entropy path of a bundle on every backend at hand, each one's streams decoded by each other."""

import ptp_model as ptp_model  # first: makes torchvision and compressai importable beside any torch
