"""What was measured of a model on a set of photos, as a file: ranges, sizes, and each observer's thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ptp_calibration.errors import CalibrationError
from ptp_calibration.observers import OBSERVERS
from ptp_calibration.ranges import Ranges, TensorRange

SCHEMA = 1


@dataclass(frozen=True)
class GraphMeasurement:
    """Of one graph.

    Attributes:
        sha256: of the FP32 ONNX file.
        ranges: of every float tensor.
        thresholds: observer → tensor → |x| that becomes 127, of the tensors that products with weights read.
    """

    sha256: str
    ranges: Ranges
    thresholds: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Measurements:
    """Of one checkpoint's task.

    Attributes:
        checkpoint_sha256: of the checkpoint.
        task: of it.
        provenance: of the photos, for people.
        photos_sha256: :attr:`~ptp_calibration.PhotoSet.digest` of the set.
        photos: name and SHA-256 of each.
        graphs: by name.
    """

    checkpoint_sha256: str
    task: str
    provenance: str
    photos_sha256: str
    photos: tuple[tuple[str, str], ...]
    graphs: Mapping[str, GraphMeasurement]

    def of(self, graph: str, sha256: str) -> GraphMeasurement:
        """The measurement of a graph.

        Raises:
            CalibrationError: it is not among them, or another file was measured.
        """
        if graph not in self.graphs:
            raise CalibrationError(f"the graph {graph!r} was not measured; expected one of {', '.join(self.graphs)}")
        found = self.graphs[graph]
        if found.sha256 != sha256:
            raise CalibrationError(
                f"another file of the graph {graph!r} was measured: expected SHA-256 {sha256[:16]}…, got "
                f"{found.sha256[:16]}…; measure again with this version and these options"
            )
        return found

    def require_fits(self, checkpoint_sha256: str, task: str) -> None:
        """Refuse measurements of another checkpoint or task with a :class:`CalibrationError`."""
        for what, expected, got in (
            ("checkpoint", checkpoint_sha256, self.checkpoint_sha256),
            ("task", task, self.task),
        ):
            if expected != got:
                raise CalibrationError(
                    f"these ranges were measured on another {what}: expected {expected[:16]}, got {got[:16]}; "
                    "measure again"
                )

    def to_json(self) -> bytes:
        """As a file."""
        document = {
            "schema": SCHEMA,
            "checkpoint_sha256": self.checkpoint_sha256,
            "task": self.task,
            "provenance": self.provenance,
            "photos_sha256": self.photos_sha256,
            "photos": [{"name": name, "sha256": digest} for name, digest in self.photos],
            "graphs": {
                name: {
                    "sha256": graph.sha256,
                    "samples": graph.ranges.samples,
                    "ranges": {
                        tensor: [found.minimum, found.maximum, list(found.shape)]
                        for tensor, found in graph.ranges.items()
                    },
                    "thresholds": {observer: dict(values) for observer, values in graph.thresholds.items()},
                }
                for name, graph in self.graphs.items()
            },
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Measurements:
        """Read a file.

        Raises:
            CalibrationError: it is none, or damaged.
        """
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise CalibrationError(
                    f"the ranges have schema {document['schema']!r}; expected {SCHEMA}: measure again"
                )
            return cls(
                str(document["checkpoint_sha256"]),
                str(document["task"]),
                str(document["provenance"]),
                str(document["photos_sha256"]),
                tuple((str(photo["name"]), str(photo["sha256"])) for photo in document["photos"]),
                {str(name): _graph(entry) for name, entry in document["graphs"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CalibrationError(
                f"this is no file of ranges, or a damaged one ({type(error).__name__}: {error}); expected what "
                "ptp-export --save-ranges wrote"
            ) from error


def _graph(entry: Mapping[str, Any]) -> GraphMeasurement:
    ranges = {
        str(name): TensorRange(_finite(low), _finite(high), tuple(int(n) for n in shape))
        for name, (low, high, shape) in entry["ranges"].items()
    }
    thresholds = {
        str(observer): {str(name): _finite(value) for name, value in values.items()}
        for observer, values in entry["thresholds"].items()
    }
    unknown = set(thresholds) - set(OBSERVERS)
    if unknown or any(value < 0 for values in thresholds.values() for value in values.values()):
        raise ValueError("an unknown observer or a threshold below 0")
    return GraphMeasurement(str(entry["sha256"]), Ranges(ranges, int(entry["samples"])), thresholds)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
