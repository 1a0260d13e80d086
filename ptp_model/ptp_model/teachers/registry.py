"""From a name and a task to a teacher."""

from __future__ import annotations

from ptp_model.errors import SpecError
from ptp_model.teachers import lite0_teachers, torchvision_teachers
from ptp_model.teachers.base import Teacher
from ptp_model.teachers.weights import Weights

#: Tasks that each teacher has.
TASKS: dict[str, tuple[str, ...]] = {
    lite0_teachers.NAME: ("seg", "det", "cls"),
    torchvision_teachers.NAME: ("seg", "det"),
}
NAMES = tuple(TASKS)


def build(name: str, task: str, weights: Weights | None = None) -> Teacher:
    """A frozen teacher in evaluation mode.

    Args:
        name: one of :data:`NAMES`.
        task: one of ``TASKS[name]``.
        weights: ``efficientnet-lite0``: the head's tensors (what ``head_state`` gave, or the path of such a file); its
            backbone is always the packaged one. ``resnet50``: a whole torchvision state dict or its path. None leaves
            these at random, to be loaded later through ``load_head_state``.

    Raises:
        SpecError: no such teacher or task.
        WeightsError: weights that are missing, altered or of another network.
    """
    if name not in TASKS:
        raise SpecError(f"teacher {name!r}: expected one of {', '.join(NAMES)}; check the checkpoint's spec")
    if task not in TASKS[name]:
        raise SpecError(f"teacher {name}: task {task!r}: expected one of {', '.join(TASKS[name])}")
    if name == torchvision_teachers.NAME:
        if task == "seg":
            return torchvision_teachers.DeepLabV3ResNet50(weights)
        return torchvision_teachers.RetinaNetResNet50(weights)
    return lite0_teachers.build(task, weights)
