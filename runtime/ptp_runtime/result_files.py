"""Results as files and as text."""

from __future__ import annotations

import json
from typing import Any

from PIL import Image

from ptp_runtime.palette import png_from_image, png_from_mask
from ptp_runtime.tasks import Classification, Detections, Segmentation, TaskOutput

SHOWN = 8
"""Classes or boxes listed in text; all are in the file and in ``--json``."""


def file_suffix(output: TaskOutput) -> str:
    """How the result's file name ends."""
    if isinstance(output, Segmentation):
        return ".mask.png"
    if isinstance(output, Classification):
        return ".classes.json"
    return ".boxes.json" if isinstance(output, Detections) else ".view.png"


def file_bytes(output: TaskOutput) -> bytes:
    """The result as a file: a palette PNG, a JSON document of boxes or of classes, or an RGB PNG."""
    if isinstance(output, Segmentation):
        return png_from_mask(output.mask)
    if isinstance(output, Detections):
        return (json.dumps({"boxes": _boxes(output)}, indent=2) + "\n").encode()
    if isinstance(output, Classification):
        probabilities = [round(float(p), 7) for p in output.probabilities]
        return (json.dumps({"classes": _classes(output), "probabilities": probabilities}, indent=2) + "\n").encode()
    return png_from_image(Image.fromarray(output.image))


def result_values(output: TaskOutput) -> dict[str, Any]:
    """The result for ``--json``."""
    if isinstance(output, Segmentation):
        height, width = output.mask.shape
        return {"task": "seg", "width": width, "height": height, "shares": output.shares()}
    if isinstance(output, Detections):
        return {"task": "det", "boxes": _boxes(output)}
    if isinstance(output, Classification):
        return {"task": "cls", "classes": _classes(output)}
    height, width = output.image.shape[:2]
    return {"task": "view", "width": width, "height": height}


def result_sentence(output: TaskOutput) -> str:
    """The result for people."""
    if isinstance(output, Segmentation):
        shares = [f"{name} {share:.1%}" for name, share in output.shares().items()]
        return "mask: " + _first(shares)
    if isinstance(output, Detections):
        boxes = [
            f"{output.classes[label]} {score:.2f}" for label, score in zip(output.labels, output.scores, strict=True)
        ]
        return f"{len(boxes)} boxes" + (": " + _first(boxes) if boxes else "")
    if isinstance(output, Classification):
        return "classes: " + _first([f"{entry['class']} {entry['score']:.1%}" for entry in _classes(output)])
    height, width = output.image.shape[:2]
    return f"picture: {width}×{height} pixels"


def _first(entries: list[str]) -> str:
    rest = len(entries) - SHOWN
    return ", ".join(entries[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _classes(output: Classification) -> list[dict[str, Any]]:
    return [
        {"class": name, "label": int(label), "score": round(float(score), 5)}
        for name, label, score in zip(output.names, output.labels, output.scores, strict=True)
    ]


def _boxes(output: Detections) -> list[dict[str, Any]]:
    return [
        {
            "left": round(float(box[0]), 2),
            "top": round(float(box[1]), 2),
            "right": round(float(box[2]), 2),
            "bottom": round(float(box[3]), 2),
            "score": round(float(score), 5),
            "label": int(label),
            "class": output.classes[int(label)],
        }
        for box, score, label in zip(output.boxes, output.scores, output.labels, strict=True)
    ]
