"""Measures a network on real photos: a photo set with provenance, and the range of every activation.

numpy, onnx and onnxruntime; no torch, and none of our other packages.
"""

from ptp_calibration.errors import CalibrationError
from ptp_calibration.photo_set import Photo, PhotoSet, Sample
from ptp_calibration.ranges import Ranges, TensorRange, measure_ranges

__all__ = ["CalibrationError", "Photo", "PhotoSet", "Ranges", "Sample", "TensorRange", "measure_ranges"]
