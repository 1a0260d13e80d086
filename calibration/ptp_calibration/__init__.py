"""Measures a network on real photos: a photo set with provenance, ranges of all activations, and thresholds for INT8.

numpy, onnx and onnxruntime; no torch, and none of our other packages.
"""

from ptp_calibration.errors import CalibrationError
from ptp_calibration.histogram import Histogram
from ptp_calibration.measurements import GraphMeasurement, Measurements
from ptp_calibration.observers import OBSERVERS
from ptp_calibration.photo_set import Photo, PhotoSet, Sample
from ptp_calibration.ranges import Ranges, TensorRange, measure_ranges
from ptp_calibration.shapes import measure_shapes
from ptp_calibration.thresholds import observe, thresholds

__all__ = [
    "OBSERVERS",
    "CalibrationError",
    "GraphMeasurement",
    "Histogram",
    "Measurements",
    "Photo",
    "PhotoSet",
    "Ranges",
    "Sample",
    "TensorRange",
    "measure_ranges",
    "measure_shapes",
    "observe",
    "thresholds",
]
