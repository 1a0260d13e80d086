"""What a task's measure is to an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptp_export.evaluation.curves.bootstrap import Estimate
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_runtime.tasks import TaskOutput


class Measure(Protocol):
    """Compares outputs with the teacher's answer, and with labels where there are any.

    More is better in all figures.
    """

    @property
    def fidelity(self) -> str:
        """The figure against the teacher's answer that a reader looks at first."""

    @property
    def metric(self) -> str:
        """The figure against labels that a reader looks at first; empty where the task has none."""

    @property
    def words(self) -> Mapping[str, str]:
        """Every figure's name → what it is, for people."""

    def labels(self, photo: EvaluationPhoto) -> Any:
        """The photograph's labels as :meth:`record` wants them; None where it has none."""

    def record(self, output: TaskOutput, teacher: TaskOutput, labels: Any) -> Any:
        """What has to be kept of one photograph's output.

        Args:
            output: of the codec.
            teacher: of the teacher on the uncompressed photograph.
            labels: see :meth:`labels`.
        """

    def summary(self, records: Sequence[Any], counts: NDArray[np.int64]) -> dict[str, Estimate]:
        """Figures over all photographs.

        Args:
            records: one a photograph.
            counts: see :func:`ptp_export.evaluation.curves.bootstrap.draws`.

        Returns:
            By name; figures against labels are missing where no photograph has any.
        """

    def photos_of_classes(self, records: Sequence[Any]) -> dict[str, dict[str, int]]:
        """Class → in how many photographs the teacher's answer (``teacher``) and the labels (``labels``) show it."""
