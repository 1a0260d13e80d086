"""What a teacher is, as data: everything that someone who has only its head's outputs must know to use them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Task = Literal["seg", "det", "cls"]


@dataclass(frozen=True)
class Resize:
    """A resize that belongs to the teacher and is applied before the codec.

    Attributes:
        short_side: length in pixels that the shorter side gets.
        max_long_side: the longer side may not pass this; the scale is reduced when it would. 0 means no limit.
        crop: side of the centred square that is kept afterwards. 0 means no crop.
        interpolation: ``bilinear`` or ``bicubic``, with antialiasing.
    """

    short_side: int
    max_long_side: int = 0
    crop: int = 0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True)
class SegmentationOutput:
    """How to read ``logits`` [N, C, h, w].

    Resize to the image's size (bilinear, ``align_corners=False``), then take the class with the largest value.

    Attributes:
        output_stride: pixels of the image per cell; h = ceil(H / output_stride), likewise w.
        background: the class that means "nothing".
        ignore: the value of a label that takes no part in a loss or a figure.
    """

    output_stride: int
    background: int = 0
    ignore: int = 255


@dataclass(frozen=True)
class DetectionOutput:
    """How to read ``cls_logits`` [N, A, K] and ``box_deltas`` [N, A, 4] (RetinaNet, arXiv 1708.02002, section 4).

    A runs over the levels in order; within a level over rows, columns, then over the anchors of a cell, whose aspect
    ratio is the outer and whose size the inner loop. Level ``l`` has ceil(n / strides[l]) cells along a side of n
    pixels. Cell (row, column) has its anchors centred on (x, y) = (column * step_x, row * step_y). An anchor is
    size * sqrt(1 / ratio) wide and size * sqrt(ratio) high; its corners, before the shift, are rounded to whole pixels,
    half to even.

    A box is decoded from deltas (dx, dy, dw, dh) of weight 1: centre + d * size, size * exp(min(d, max_log_scale)).
    Each class has its own sigmoid score. Per level the ``candidates_per_level`` best (anchor, class) pairs above
    ``score_threshold`` are kept, boxes are clipped to the image, non-maximum suppression runs per class, and the
    ``max_detections`` best remain.

    Attributes:
        strides: pixels per cell, one per level.
        sizes: per level, the sides of square anchors in pixels.
        aspect_ratios: height over width.
        step: ``stride``: both steps are the level's stride. ``side-over-cells``: the image's side divided by the
            level's cells along it, rounded down (torchvision's rule).
    """

    strides: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    aspect_ratios: tuple[float, ...]
    step: Literal["stride", "side-over-cells"]
    max_log_scale: float
    score_threshold: float
    iou_threshold: float
    candidates_per_level: int
    max_detections: int

    @property
    def anchors_per_cell(self) -> int:
        return len(self.sizes[0]) * len(self.aspect_ratios)


@dataclass(frozen=True)
class ClassificationOutput:
    """How to read ``logits`` [N, C]: a softmax over the classes; the ``top`` best are worth showing."""

    top: int = 5


Output = SegmentationOutput | DetectionOutput | ClassificationOutput


@dataclass(frozen=True)
class TeacherSpec:
    """One task network, cut behind its second stage.

    Attributes:
        name: ``efficientnet-lite0`` or ``resnet50``, the backbone.
        task: what the head answers.
        mean, std: normalisation of RGB in 0..1, applied by the stem as a subtraction and a multiplication *before*
            any zero padding.
        padding: where a strided convolution puts its zeros. ``tf-same``: (k - 3) / 2 before an even side, one more
            before an odd one, and (k - 1) / 2 behind. ``symmetric``: (k - 1) / 2 on both sides.
        feature_channels: channels of the feature h.
        feature_stride: pixels of the image per cell of h; h has ceil(H / stride) x ceil(W / stride) cells.
        classes: one name per output class, in order; an index that means no class is called ``N/A``.
        output: how to read the head's raw outputs.
        resize: applied to the photo before the codec; None means the photo's own size.
        weights: where the weights come from, for the reader.
    """

    name: str
    task: Task
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    padding: Literal["tf-same", "symmetric"]
    feature_channels: int
    classes: tuple[str, ...]
    output: Output
    resize: Resize | None = None
    feature_stride: int = 4
    weights: str = field(default="", compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; tuples become lists."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
