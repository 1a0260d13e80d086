"""The ``task`` section of the manifest: which task a bundle serves and how its raw outputs become results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptp_runtime.errors import ManifestError
from ptp_runtime.manifest.strict_json import Fields

TASK_IDS = {"view": 0, "seg": 1, "det": 2, "cls": 3}
"""Task ids as they stand in the stream's header. 0 is universal: the codec without prompts."""


@dataclass(frozen=True)
class ViewParameters:
    """The head's ``image`` output [1, 3, 4·ceil(H/4), 4·ceil(W/4)] is RGB in 0..1; there is nothing to choose."""

    def to_dict(self) -> dict[str, Any]:
        """The section as JSON values."""
        return {}

    @classmethod
    def read(cls, f: Fields) -> ViewParameters:
        """The section as parsed."""
        f.finish()
        return cls()


@dataclass(frozen=True)
class SegmentationParameters:
    """The head's ``logits`` [1, classes, oh, ow] are resized to the photo and the largest class wins.

    Attributes:
        interpolation: ``bilinear``, with align_corners=False.
        palette: ``voc``: the colours that the PASCAL VOC devkit gives to the class numbers.
    """

    interpolation: str = "bilinear"
    palette: str = "voc"

    def to_dict(self) -> dict[str, Any]:
        """The section as JSON values."""
        return {"interpolation": self.interpolation, "palette": self.palette}

    @classmethod
    def read(cls, f: Fields) -> SegmentationParameters:
        """The section as parsed."""
        parameters = cls(f.one_of("interpolation", ("bilinear",)), f.one_of("palette", ("voc",)))
        f.finish()
        return parameters


@dataclass(frozen=True)
class AnchorLevel:
    """One level of the feature pyramid: pixels per cell (nominal), and the anchors' side lengths in pixels."""

    stride: int
    sizes: tuple[int, ...]


def _default_levels() -> tuple[AnchorLevel, ...]:
    return tuple(
        AnchorLevel(stride, (size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))))
        for stride, size in ((8, 32), (16, 64), (32, 128), (64, 256), (128, 512))
    )


@dataclass(frozen=True)
class DetectionParameters:
    """How RetinaNet's raw ``cls_logits`` [1, A, classes] and ``box_deltas`` [1, A, 4] become boxes.

    The defaults are those of torchvision's ``retinanet_resnet50_fpn``.

    Attributes:
        levels: finest first, in the order in which the head concatenates them.
        aspect_ratios: height over width of the anchors; the same at every level.
        score_threshold: a (box, class) below or at it is dropped.
        candidates_per_level: the best that enter non-maximum suppression.
        nms_threshold: intersection over union above which the lower-scored box of a class is dropped.
        detections_per_image: the best that are kept.
        box_weights: what the deltas (x, y, width, height) are divided by.
    """

    levels: tuple[AnchorLevel, ...] = _default_levels()
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    score_threshold: float = 0.05
    candidates_per_level: int = 1000
    nms_threshold: float = 0.5
    detections_per_image: int = 300
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The section as JSON values."""
        return {
            "levels": [{"stride": level.stride, "sizes": list(level.sizes)} for level in self.levels],
            "aspect_ratios": list(self.aspect_ratios),
            "score_threshold": self.score_threshold,
            "candidates_per_level": self.candidates_per_level,
            "nms_threshold": self.nms_threshold,
            "detections_per_image": self.detections_per_image,
            "box_weights": list(self.box_weights),
        }

    @classmethod
    def read(cls, f: Fields) -> DetectionParameters:
        """The section as parsed."""
        x, y, width, height = f.numbers("box_weights", 4, 1e-6, 1e6)
        parameters = cls(
            levels=f.sequence("levels", _read_level),
            aspect_ratios=f.numbers("aspect_ratios", None, 1e-3, 1e3),
            score_threshold=f.number("score_threshold", 0.0, 1.0),
            candidates_per_level=f.integer("candidates_per_level", 1, 1 << 20),
            nms_threshold=f.number("nms_threshold", 0.0, 1.0),
            detections_per_image=f.integer("detections_per_image", 1, 1 << 20),
            box_weights=(x, y, width, height),
        )
        f.finish()
        return parameters


def _read_level(value: Any, where: str) -> AnchorLevel:
    f = Fields(value, where)
    level = AnchorLevel(f.integer("stride", 4, 4096), f.integers("sizes", None, 1, 65536))
    f.finish()
    return level


@dataclass(frozen=True)
class ClassificationParameters:
    """The head's ``logits`` [1, classes] become probabilities of the whole photo.

    Attributes:
        activation: ``softmax``, over all classes.
        top: how many of the likeliest classes are the answer; never more than there are.
    """

    activation: str = "softmax"
    top: int = 5

    def to_dict(self) -> dict[str, Any]:
        """The section as JSON values."""
        return {"activation": self.activation, "top": self.top}

    @classmethod
    def read(cls, f: Fields) -> ClassificationParameters:
        """The section as parsed."""
        parameters = cls(f.one_of("activation", ("softmax",)), f.integer("top", 1, 65536))
        f.finish()
        return parameters


TaskParameters = ViewParameters | SegmentationParameters | DetectionParameters | ClassificationParameters

_PARAMETERS: dict[
    str,
    type[ViewParameters] | type[SegmentationParameters] | type[DetectionParameters] | type[ClassificationParameters],
] = {
    "view": ViewParameters,
    "seg": SegmentationParameters,
    "det": DetectionParameters,
    "cls": ClassificationParameters,
}

_MOST_CLASSES = {"seg": 256, "det": 256, "cls": 65536}
"""A mask's pixels are bytes; a classifier's class numbers are not."""


@dataclass(frozen=True)
class TaskInfo:
    """The task a bundle serves.

    Attributes:
        name: ``view``, ``seg``, ``det`` or ``cls``.
        id: :data:`TASK_IDS` of the name; stands in every stream.
        classes: names by class number (``background`` is 0 for seg and det); empty for view.
        parameters: of the post-processing; the dataclass that belongs to the name.
    """

    name: str
    id: int
    classes: tuple[str, ...]
    parameters: TaskParameters

    def __post_init__(self) -> None:
        if self.name not in TASK_IDS or self.id != TASK_IDS[self.name]:
            raise ManifestError(
                f"task.id {self.id} does not belong to the task {self.name!r}",
                expected=", ".join(f"{name} = {number}" for name, number in TASK_IDS.items()),
            )
        if not isinstance(self.parameters, _PARAMETERS[self.name]):
            raise ManifestError(f"the task {self.name!r} has the post-processing of another task")
        most = _MOST_CLASSES.get(self.name)
        if most is not None and not 1 <= len(self.classes) <= most:
            raise ManifestError(
                "task.classes has another length", expected=f"1 to {most} names", got=f"{len(self.classes)} names"
            )

    def to_dict(self) -> dict[str, Any]:
        """The section as JSON values."""
        return {
            "name": self.name,
            "id": self.id,
            "classes": list(self.classes),
            "postprocessing": self.parameters.to_dict(),
        }

    @classmethod
    def read(cls, f: Fields) -> TaskInfo:
        """The section as parsed."""
        name = f.one_of("name", tuple(TASK_IDS))
        task = cls(
            name=name,
            id=f.integer("id", 0, 255),
            classes=f.texts("classes"),
            parameters=_PARAMETERS[name].read(f.fields("postprocessing")),
        )
        f.finish()
        return task
