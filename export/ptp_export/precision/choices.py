"""Which precision was asked for, and on which photos it is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptp_calibration import OBSERVERS
from ptp_runtime.errors import UsageError


@dataclass(frozen=True)
class Loss:
    """What ``--best`` may lose.

    Attributes:
        bits: share by which streams may become longer; 0.01 is 1 %.
        metric: points of the task's figure.
    """

    bits: float = 0.01
    metric: float = 0.5

    def holds(self, bits: float, metric: float) -> bool:
        """Whether a loss is within this one."""
        return bits <= self.bits and metric <= self.metric

    def words(self) -> list[str]:
        """The options that ask for it."""
        return ["--max-bpp-loss", f"{100 * self.bits:g}%", "--max-metric-loss", f"{self.metric:g}"]


@dataclass(frozen=True)
class PrecisionChoices:
    """Of analysis, synthesis and head; the entropy path is never converted.

    Attributes:
        fp16: all that no exclusion names.
        int8: products with weights that no exclusion names; with ``fp16`` the rest in FP16.
        observer: of :data:`ptp_calibration.OBSERVERS`; how INT8 saturates.
        best: INT8 where it keeps to this loss, found by a search; None: everywhere.
        calibration: folder of photos; None: the shipped ones.
        ranges: file of ``save_ranges`` to take in place of measuring.
        save_ranges: file to write the measurements to.
    """

    fp16: bool = False
    int8: bool = False
    observer: str = "mse"
    best: Loss | None = None
    calibration: Path | None = None
    ranges: Path | None = None
    save_ranges: Path | None = None

    def __post_init__(self) -> None:
        if self.observer not in OBSERVERS:
            raise UsageError("unknown observer", expected=", ".join(OBSERVERS), got=self.observer)
        if self.best is not None and not self.int8:
            raise UsageError("--best searches what INT8 may cost", expected="--int8 --best", got="--best alone")
        if self.best is not None and not (0 <= self.best.bits < 1 and 0 <= self.best.metric <= 100):
            raise UsageError("the limits of --best make no sense", expected="0 % to 100 % of bits, 0 to 100 points")
        if not self.converts and (self.ranges or self.save_ranges):
            raise UsageError(
                "nothing is measured for an export in FP32", expected="--fp16 or --int8", got="a file of ranges alone"
            )

    @property
    def converts(self) -> bool:
        """Whether any graph is converted."""
        return self.fp16 or self.int8

    @property
    def label(self) -> str:
        """For people: ``FP16``, ``INT8``, ``INT8 and FP16``, or ``FP32``."""
        names = [name for name, asked in (("INT8", self.int8), ("FP16", self.fp16)) if asked]
        return " and ".join(names) or "FP32"

    def words(self) -> list[str]:
        """The options of the command line that ask for this."""
        words = [word for word, asked in (("--fp16", self.fp16), ("--int8", self.int8)) if asked]
        words += ["--observer", self.observer] if self.int8 and self.observer != "mse" else []
        words += ["--best", *self.best.words()] if self.best is not None else []
        for option, path in (
            ("--calibration", self.calibration),
            ("--ranges", self.ranges),
            ("--save-ranges", self.save_ranges),
        ):
            words += [] if path is None else [option, str(path)]
        return words
