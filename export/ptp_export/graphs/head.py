"""``head``: cropped feature h → the task's raw outputs. Resize, argmax, anchors and NMS are the runtime's."""

from __future__ import annotations

from torch import Tensor, nn

from ptp_export.graphs.interface import Graph
from ptp_export.tensor_spec import TensorSpec
from ptp_model.codec import FeatureCodec
from ptp_model.teachers import Teacher


class TaskHead(nn.Module):
    """The teacher's tail: ``h`` [1, F, h4, w4] → ``logits``, or ``cls_logits`` and ``box_deltas``."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, h: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.teacher.tail(h)


class ViewHead(nn.Module):
    """The codec's image extractor: ``h`` [1, F, h4, w4] → ``image`` [1, 3, 4·h4, 4·w4], around 0..1, not clipped."""

    def __init__(self, codec: FeatureCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, h: Tensor) -> Tensor:
        return self.codec.extractor(h)


def head_graph(codec: FeatureCodec, task: str, teacher: Teacher | None) -> Graph:
    """The graph of the role ``head``; ``view`` needs no teacher.

    Raises:
        ValueError: another task without a teacher.
    """
    feature = TensorSpec("h", "float32", (1, codec.spec.F, "h4", "w4"))
    if task == "view":
        outputs: tuple[TensorSpec, ...] = (TensorSpec("image", "float32", (1, 3, "4*h4", "4*w4")),)
        return Graph("head", "head", ViewHead(codec), (feature,), outputs)
    if teacher is None:
        raise ValueError(f"the task {task!r} needs its teacher")
    classes = len(teacher.spec.classes)
    if task == "det":
        outputs = (
            TensorSpec("cls_logits", "float32", (1, "anchors", classes)),
            TensorSpec("box_deltas", "float32", (1, "anchors", 4)),
        )
    elif task == "cls":
        outputs = (TensorSpec("logits", "float32", (1, classes)),)
    else:
        outputs = (TensorSpec("logits", "float32", (1, classes, "oh", "ow")),)
    return Graph("head", "head", TaskHead(teacher), (feature,), outputs)
