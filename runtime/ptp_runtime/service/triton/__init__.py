"""``ptp export-triton``: bundles as a model repository of NVIDIA's Triton Inference Server.

``repository`` writes it; ``python_model`` is what Triton's Python backend runs in it; ``server`` starts a Triton
that is installed here.
"""
