"""A task out of a checkpoint, with the model's errors turned into the ones users know."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_export.oracle.reference import ReferenceChain
from ptp_model import checkpoint
from ptp_model.errors import ModelError
from ptp_runtime.errors import CheckpointError, TaskNotAvailableError


@dataclass(frozen=True)
class CheckpointTask:
    """What an export and a verification need of a checkpoint.

    Attributes:
        name: the task.
        chain: codec, prompts and teacher.
        digest: of the checkpoint, hex.
    """

    name: str
    chain: ReferenceChain
    digest: str


def load_task(path: str, task: str) -> CheckpointTask:
    """Load a checkpoint and pick a task.

    Args:
        path: its folder, or ``demo``.
        task: ``seg``, ``det``, ``cls`` or ``view``; every checkpoint has ``view``.

    Raises:
        CheckpointError: missing, altered, incomplete, or of another spec.
        TaskNotAvailableError: the checkpoint has no such task.
    """
    try:
        loaded = checkpoint.load(path)
    except ModelError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be used", got=str(error)) from error
    if task == "view":
        return CheckpointTask(task, ReferenceChain(loaded.codec, None, None), loaded.digest)
    if task not in loaded.tasks:
        raise TaskNotAvailableError(
            f"the checkpoint {path} has no task {task!r}",
            expected=", ".join(sorted({"view", *loaded.tasks})),
            got=task,
            hint="choose another task, or train this one",
        )
    model = loaded.tasks[task]
    return CheckpointTask(task, ReferenceChain(loaded.codec, model.prompts, model.teacher), loaded.digest)
