"""The entropy path of a bundle: from the model's float networks to integer graphs, what they cost, and their proof."""

import ptp_model as ptp_model  # first: makes torchvision and compressai importable beside any torch
