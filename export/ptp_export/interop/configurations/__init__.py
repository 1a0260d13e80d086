"""The ways to compute the entropy graphs that ``ptp interop`` compares: one file a library."""
