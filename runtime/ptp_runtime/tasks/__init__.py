"""From a task head's raw outputs to what the user asked for: a mask, boxes or a picture."""

from ptp_runtime.tasks.results import Detections, Segmentation, TaskOutput, View

__all__ = ["Detections", "Segmentation", "TaskOutput", "View"]
