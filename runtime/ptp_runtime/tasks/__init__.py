"""From a task head's raw outputs to what the user asked for: a mask, boxes, a picture or classes."""

from ptp_runtime.tasks.results import Classification, Detections, Segmentation, TaskOutput, View

__all__ = ["Classification", "Detections", "Segmentation", "TaskOutput", "View"]
