"""What each task of a shared bundle brings along: prompts by graph, a head, latents to calibrate on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.oracle.checkpoint_task import CheckpointTask
from ptp_model.prompts import TaskPrompts
from ptp_runtime.errors import CheckpointError

#: Where a shared bundle's manifest says which codec it has.
CODEC_SHA256 = "codec_sha256"
#: Roles of the float graphs that a prompt runs beside.
PROMPTED = ("analysis", "synthesis")


@dataclass(frozen=True)
class TaskParts:
    """One task of a checkpoint.

    Attributes:
        task: with prompts, also where they are silent (``view``).
        graphs: by name.
    """

    task: CheckpointTask
    graphs: Mapping[str, Graph]

    @property
    def name(self) -> str:
        """Of the task."""
        return self.task.name

    def prompt(self, graph: str) -> dict[str, NDArray[np.float32]]:
        """The task's tensors for one of the float graphs, by their name in its file."""
        parameters = self.graphs[graph].prompt_parameters()
        return {name: np.asarray(value.detach().numpy(), np.float32) for name, value in parameters.items()}


def task_parts(task: CheckpointTask) -> TaskParts:
    """A task with its graphs; one without prompts gets silent ones, which add exactly 0."""
    chain = task.chain
    if chain.prompts is None:
        task = replace(task, chain=replace(chain, prompts=TaskPrompts(chain.codec.spec).eval().requires_grad_(False)))
    graphs = graphs_from_model(task.chain.codec, task.name, task.chain.prompts, task.chain.teacher)
    return TaskParts(task, {graph.name: graph for graph in graphs})


def require_one_codec(tasks: Mapping[str, CheckpointTask]) -> None:
    """Refuse tasks of different codecs.

    Raises:
        CheckpointError: they are not of one checkpoint.
    """
    digests = {task.digest for task in tasks.values()}
    if len(digests) > 1:
        raise CheckpointError("the tasks come from different checkpoints", expected="one codec for all")


def codec_digest(task: CheckpointTask) -> str:
    """SHA-256 over the universal codec's weights by name, prompts and teacher aside, hex."""
    digest = hashlib.sha256()
    for key, value in sorted(task.chain.codec.state_dict().items()):
        digest.update(key.encode() + b"\0" + str(tuple(value.shape)).encode() + value.numpy().tobytes())
    return digest.hexdigest()
