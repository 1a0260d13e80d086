"""Does a bundle compute what the model computes? Compared graph by graph and as a whole, on real photos.

Limits are data (``limits.toml``), fixed before the comparison: a check that sets its own tolerance from what it
measured can only pass. Comparing nothing is a failure.
"""
