"""What an export was asked for, resolved once; and the command that asks for it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.targets import TARGET_NAMES, engine_target
from ptp_export.precision.choices import PrecisionChoices
from ptp_export.sizes import MAX_SIDE, Size, SizeRange
from ptp_runtime.errors import UsageError

TASKS = ("seg", "det", "cls", "view")
ENTROPY_PATHS = ("integer", "float")

#: What the ONNX graphs of a dynamic export take.
WHOLE_RANGE = SizeRange(Size(1, 1), Size(512, 768), Size(MAX_SIDE, MAX_SIDE))
#: What engines are built for unless asked otherwise: their memory grows with the largest size.
ENGINE_RANGE = SizeRange(Size(1, 1), Size(512, 768), Size(2048, 2048))


@dataclass(frozen=True)
class ExportOptions:
    """One export.

    Attributes:
        task: one of :data:`TASKS`.
        checkpoint: folder, or ``demo``.
        output: the bundle to write.
        precision: of analysis, synthesis and head.
        accepted: photo sizes that the bundle's graphs take.
        profile: photo sizes that engines are built for.
        targets: engine targets beside ONNX.
        devices: compute capabilities for engines; empty for the builder's default.
        allow_partial: accept less FP16 or INT8 than asked.
        overwrite: replace an existing bundle.
        default_rate: the rate that an encoder takes unless asked for another; None: the checkpoint's own.
        choices: of engine builds: portability, weights, proof, cache.
        entropy_path: ``integer``: streams decode on every backend; ``float``: on the same backend and build only.
        only: name of the one graph to process, writing no bundle; empty for all.
        log_folder: where engine builds leave their logs.
        build_timeout_s: seconds one engine may take.
        shared: all tasks of a shared bundle, ``task`` first; empty for a bundle of one task.
    """

    task: str
    checkpoint: str
    output: Path
    precision: PrecisionChoices
    accepted: SizeRange
    profile: SizeRange
    targets: tuple[str, ...]
    devices: tuple[str, ...]
    allow_partial: bool
    overwrite: bool
    only: str
    log_folder: Path
    build_timeout_s: float
    default_rate: int | None = None
    entropy_path: str = "integer"
    choices: BuildChoices = field(default_factory=BuildChoices)
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError("unknown task", expected=", ".join(TASKS), got=self.task)
        if self.entropy_path not in ENTROPY_PATHS:
            raise UsageError("unknown entropy path", expected=", ".join(ENTROPY_PATHS), got=self.entropy_path)
        unknown = [target for target in self.targets if target not in TARGET_NAMES]
        if unknown:
            raise UsageError("unknown target", expected=", ".join(TARGET_NAMES), got=", ".join(unknown))
        if self.only and self.precision.best is not None:
            raise UsageError(
                "--best weighs the whole codec", expected="no --only", got=f"--only {self.only}", hint="leave it out"
            )
        for name in self.engine_targets:
            self.choices.require_possible(engine_target(name))

    @property
    def static_size(self) -> Size | None:
        """The one photo size of a static export; None where height and width are free."""
        return self.accepted.typical if self.accepted.is_static else None

    @property
    def engine_targets(self) -> tuple[str, ...]:
        """The targets that need a builder, each once, in the order given."""
        return tuple(dict.fromkeys(target for target in self.targets if target != "onnx"))

    def command(self, only: str = "") -> str:
        """The command line that repeats this export, or one graph of it."""
        words = ["ptp-export", *(word for task in self.shared or (self.task,) for word in ("--task", task))]
        words += ["--shared"] if self.shared else []
        words += ["--checkpoint", self.checkpoint]
        words += self.precision.words()
        if self.entropy_path != "integer":
            words += ["--entropy-path", self.entropy_path]
        if self.accepted.is_static:
            words += ["--size", str(self.accepted.typical)]
        elif self.profile not in (WHOLE_RANGE, ENGINE_RANGE):
            sizes = ("--min-size", "--typical-size", "--max-size")
            for flag, size in zip(
                sizes, (self.profile.smallest, self.profile.typical, self.profile.largest), strict=True
            ):
                words += [flag, str(size)]
        for flag, values in (("--target", self.targets), ("--device", self.devices)):
            for value in values:
                words += [flag, value]
        words += ["--allow-partial"] if self.allow_partial else []
        words += ["--overwrite"] if self.overwrite else []
        words += self.choices.words()
        words += ["--log-dir", str(self.log_folder)]
        words += [] if self.default_rate is None else ["--default-rate", str(self.default_rate)]
        words += ["--only", only] if only else []
        return shlex.join([*words, "-o", str(self.output)])
