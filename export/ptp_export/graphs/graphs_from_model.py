"""All graphs of a task, in the order of the chain."""

from __future__ import annotations

import copy

from ptp_export.graphs.analysis import analysis_graph
from ptp_export.graphs.aspp import fold_aspp
from ptp_export.graphs.fpn import fold_pyramids
from ptp_export.graphs.gdn import fold_gdn
from ptp_export.graphs.head import head_graph
from ptp_export.graphs.hyper import hyper_graph
from ptp_export.graphs.interface import Graph
from ptp_export.graphs.step import step_graph
from ptp_export.graphs.synthesis import synthesis_graph
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.teachers import Teacher


def graphs_from_model(
    codec: FeatureCodec, task: str, prompts: TaskPrompts | None, teacher: Teacher | None
) -> tuple[Graph, ...]:
    """Cut a codec, one task's prompts and its teacher into ``analysis``, ``hyper``, the steps, ``synthesis``, ``head``.

    The modules are copies in evaluation mode, with GDN, ASPP and feature pyramids in plain forms: the model given is
    not changed.

    Args:
        codec: the universal codec.
        task: ``view``, ``seg``, ``det`` or ``cls``.
        prompts: the task's prompts; None for ``view``.
        teacher: the task's network; None for ``view``.
    """
    codec, prompts, teacher = copy.deepcopy((codec, prompts, teacher))
    for module in (codec, prompts, teacher):
        if module is not None:
            module.eval().requires_grad_(False)
    fold_gdn(codec)
    if teacher is not None:
        fold_aspp(teacher)
        fold_pyramids(teacher)
    return (
        analysis_graph(codec, prompts),
        hyper_graph(codec, prompts),
        *(step_graph(codec, k) for k in range(len(codec.context.schedule))),
        synthesis_graph(codec, prompts),
        head_graph(codec, task, teacher),
    )
