"""Codec, prompts and heads of a spec, and the filling of them with tensors from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptp_model import teachers
from ptp_model.checkpoint import TaskModel
from ptp_model.codec import FeatureCodec
from ptp_model.errors import CheckpointError
from ptp_model.importing.matching import Matching, Offered
from ptp_model.importing.names import why_passed_over
from ptp_model.importing.statistics import NAMES as STATISTICS
from ptp_model.importing.statistics import faulty
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import ModelSpec
from ptp_model.teachers import torchvision_teachers
from ptp_model.teachers.weights import is_counter, load_strictly

#: Of the values that a part has before anything is loaded; they remain where --allow-missing says so.
SEED = 0
#: Medians of z further from 0 than this are worth a word.
MEDIAN_TOLERANCE = 0.01

_STEM = "stem."


@dataclass(frozen=True)
class Assembly:
    """The parts of one spec, at their fresh values.

    Attributes:
        shared_stem: whether the codec's stem is taken from a teacher, because no source has one.
    """

    spec: ModelSpec
    codec: FeatureCodec
    tasks: Mapping[str, TaskModel]
    shared_stem: bool

    @classmethod
    def of(cls, spec: ModelSpec, tasks: Iterable[str], offered: Sequence[Offered]) -> Assembly:
        """Build all parts.

        Raises:
            SpecError: the teacher has no such task.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            codec = FeatureCodec(spec)
            built = {name: TaskModel(TaskPrompts(spec), teachers.build(spec.teacher, name)) for name in tasks}
        stem_given = any(offer.target.startswith(_STEM) for offer in offered)
        has_teacher = spec.teacher != torchvision_teachers.NAME or bool(built)
        return cls(spec, codec, built, codec.stem is not None and not stem_given and has_teacher)

    def expected(self, statistics: bool = True) -> dict[str, Tensor]:
        """All tensors that sources should have, by our names.

        Args:
            statistics: whether the feature's mean and standard deviation are among them.
        """
        wanted = {
            name: value
            for name, value in self.codec.state_dict().items()
            if not why_passed_over(name).startswith("table")
            and (statistics or name not in STATISTICS)
            and not (self.shared_stem and name.startswith(_STEM))
        }
        for task, model in self.tasks.items():
            wanted |= {f"prompts.{task}.{name}": value for name, value in model.prompts.state_dict().items()}
            shipped = model.teacher.shipped().state_dict()
            wanted |= {f"head.{task}.{name}": value for name, value in shipped.items() if not is_counter(name)}
        return wanted

    def fill(self, matching: Matching) -> None:
        """Load what matched; what was allowed to be missing stays fresh, a shared stem is taken over.

        Raises:
            CheckpointError: the matching is to be refused, or the feature's standard deviation is not above 0.
        """
        if matching.refused:
            raise CheckpointError(matching.problems())
        if all(name in matching.values for name in STATISTICS) and (
            fault := faulty(*(matching.values[name] for name in STATISTICS))
        ):
            raise CheckpointError(fault)
        own = self.codec.state_dict()
        load_strictly("codec", self.codec, {name: matching.values.get(name, own[name]) for name in own})
        for task, model in self.tasks.items():
            prompts = model.prompts.state_dict()
            taken = {name: matching.values.get(f"prompts.{task}.{name}", value) for name, value in prompts.items()}
            load_strictly(f"prompts of {task}", model.prompts, taken)
            head = {k: v for k, v in model.teacher.shipped().state_dict().items() if not is_counter(k)}
            model.teacher.load_head_state(
                {name: matching.values.get(f"head.{task}.{name}", value) for name, value in head.items()}
            )
        if self.shared_stem and self.codec.stem is not None:
            self.codec.stem.adopt(self.teacher().stem_layers())
        self.codec.eval().requires_grad_(False)

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of the feature, each [1, F, 1, 1]."""
        self.codec.feature_mean.copy_(mean)
        self.codec.feature_std.copy_(std)

    def teacher(self) -> teachers.Teacher:
        """Any task's teacher: their stems are the same.

        Raises:
            CheckpointError: no package carries this teacher's weights, and none were given.
        """
        if self.tasks:
            return next(iter(self.tasks.values())).teacher
        if self.spec.teacher == torchvision_teachers.NAME:
            raise CheckpointError(
                f"the teacher {self.spec.teacher}: expected its weights, got none; give a torchvision state dict with "
                "--head seg=FILE or --head det=FILE"
            )
        return teachers.build(self.spec.teacher, "seg")

    def median_of_z(self) -> float:
        """How far z's medians lie from 0. CompressAI rounds z around them, this codec around 0."""
        quantiles: Tensor = self.codec.entropy_bottleneck.quantiles
        return float(quantiles[:, 0, 1].detach().abs().max())
