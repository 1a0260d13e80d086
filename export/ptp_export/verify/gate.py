"""What a bundle's precision costs: bytes and the task's figure, against the model in FP32, on the same photos.

Both sides code with the bundle's own entropy path, so that the difference is what analysis, synthesis and head lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.curves.bootstrap import Estimate, draws, mean_estimate
from ptp_export.evaluation.measures import Measure, measure_of
from ptp_export.evaluation.reference import Judge
from ptp_export.oracle.reference import ReferenceRun
from ptp_export.verify.limits import GateLimit
from ptp_model.teachers import Teacher
from ptp_runtime.coder import StreamDecoder
from ptp_runtime.encoder import encode_latents
from ptp_runtime.entropy_path import EntropyPath
from ptp_runtime.errors import MissingExtraError
from ptp_runtime.images import lead_padding
from ptp_runtime.manifest import Manifest
from ptp_runtime.session import Decoded, Encoded
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.tables import Tables
from ptp_runtime.tasks.dispatch import output_from_head

_SEED = 5


@dataclass(frozen=True)
class GateResult:
    """Over all photos.

    Attributes:
        own_bytes, reference_bytes: of the streams, and of those that the model's latents in FP32 give.
        figure: what the task was weighed by, for people; empty where it was not.
        loss: points of 100 of that figure that are lost, mean of photos with its 95 % interval; None where it was not
            weighed.
        missing: why it was not.
        limit: what is allowed.
    """

    own_bytes: int
    reference_bytes: int
    figure: str
    loss: Estimate | None
    missing: str
    limit: GateLimit

    @property
    def bits(self) -> float:
        """By what share the streams are longer."""
        return self.own_bytes / self.reference_bytes - 1

    def problems(self) -> list[str]:
        """One sentence for each limit passed. A loss counts where its whole interval is beyond the limit."""
        found = []
        if not self.bits <= self.limit.bits:
            found.append(f"the streams are {self.bits:+.2%} longer than the model's, above {self.limit.bits:+.2%}")
        if self.loss is not None:
            surely = self.loss.value if np.isnan(self.loss.low) else self.loss.low
            if surely > self.limit.metric:
                found.append(
                    f"{self.loss.value:.2f} points of the task are lost (95 %: {self.loss.low:.2f} to"
                    f" {self.loss.high:.2f}), above {self.limit.metric:g}"
                )
        return found

    def sentence(self) -> str:
        """For people."""
        bits = f"Against the model in FP32: {self.bits:+.2%} bytes (limit {self.limit.bits:+.1%})"
        if self.loss is None:
            return f"{bits}; the task was not weighed: {self.missing}."
        interval = "" if np.isnan(self.loss.low) else f" (95 %: {self.loss.low:+.2f} to {self.loss.high:+.2f})"
        return f"{bits}, {self.loss.value:+.2f} points lost{interval} of: {self.figure} (limit {self.limit.metric:g})."

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        loss = None
        if self.loss is not None:
            values = (self.loss.value, self.loss.low, self.loss.high)
            loss = dict(zip(("value", "low", "high"), (None if np.isnan(v) else v for v in values), strict=True))
        return {
            "own_bytes": self.own_bytes,
            "reference_bytes": self.reference_bytes,
            "bits": self.bits,
            "figure": self.figure,
            "metric_loss": loss,
            "missing": self.missing,
            "limit": {"bits": self.limit.bits, "metric": self.limit.metric},
            "passed": not self.problems(),
        }


class Gate:
    """Weighs photo by photo.

    Args:
        manifest: of the bundle.
        path: its entropy path, as the session runs it.
        tables: of its coder.
        teacher: of its task; None for ``view``.
        limit: what is allowed.
    """

    def __init__(
        self, manifest: Manifest, path: EntropyPath, tables: Tables, teacher: Teacher | None, limit: GateLimit
    ) -> None:
        self._manifest, self._path, self._tables, self._limit = manifest, path, tables, limit
        self._judge: Judge | None = None
        self._measure: Measure | None = None
        self._missing = "the picture itself is compared above"
        if teacher is not None:
            self._judge = Judge(teacher)
            try:
                self._measure = measure_of(manifest.task.name, self._judge.classes)
            except MissingExtraError as error:
                self._missing = str(error)
        self._own = self._reference = 0
        self._lost: list[float] = []

    def add(self, pixels: NDArray[np.uint8], encoded: Encoded, decoded: Decoded, run: ReferenceRun) -> None:
        """Take one photo.

        Args:
            pixels: uint8 [H, W, 3], as the session got them.
            encoded, decoded: what the session made of them.
            run: the model in FP32 on the same photo.
        """
        header = StreamDecoder(
            encoded.data, self._tables, identity=self._manifest.entropy.identity, task=self._manifest.task.id
        ).header
        analysed = run.graphs["analysis"].outputs
        y, z = (np.asarray(analysed[name], np.float32) for name in ("y", "z"))
        reference, _ = encode_latents(self._path, self._tables, header, y, z, Stopwatch(), keep_steps=False)
        self._own += len(encoded.data)
        self._reference += len(reference)
        if self._judge is None or self._measure is None:
            return
        size = (pixels.shape[0], pixels.shape[1])
        coded = (encoded.rate.height, encoded.rate.width)
        raw = {name: np.asarray(value) for name, value in run.graphs["head"].outputs.items()}
        lead = lead_padding(*coded, self._manifest.preprocessing.lead_multiple)
        expected = output_from_head(self._manifest.task, raw, coded, size, lead)
        answer = self._judge.answer(self._judge.coded(pixels), size).output
        ours, theirs = (self._points(self._measure, output, answer) for output in (decoded.output, expected))
        self._lost.append(theirs - ours)

    def result(self) -> GateResult:
        """Of all photos so far."""
        lost = np.array(self._lost)
        if self._measure is None or not len(lost):
            return GateResult(self._own, self._reference, "", None, self._missing, self._limit)
        if np.isnan(lost).all():
            nothing = "the teacher sees nothing in these photos"
            return GateResult(self._own, self._reference, "", None, nothing, self._limit)
        loss = mean_estimate(lost, draws(len(lost), _SEED))
        figure = self._measure.words[self._measure.fidelity].split(",")[0] + ", mean of photos"
        return GateResult(self._own, self._reference, figure, loss, "", self._limit)

    @staticmethod
    def _points(measure: Measure, output: Any, answer: Any) -> float:
        record = measure.record(output, answer, None)
        return 100 * measure.summary([record], np.ones((1, 1), np.int64))[measure.fidelity].value
