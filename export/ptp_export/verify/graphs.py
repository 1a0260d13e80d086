"""Graph by graph: the runtime's graph on the inputs that PyTorch had."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ptp_export.oracle.reference import ReferenceRun
from ptp_export.verify.limits import Limits
from ptp_export.verify.measure import FloatError, IntegerError, float_error, integer_error
from ptp_export.verify.report import GraphResult, TensorResult
from ptp_runtime.backends import Graph
from ptp_runtime.entropy_path import run_graph
from ptp_runtime.errors import VerificationError
from ptp_runtime.manifest import GraphEntry, Manifest


class GraphComparison:
    """Collects the errors of every output of every graph, photo by photo.

    Args:
        manifest: of the bundle.
        graphs: loaded, by name.
        limits: to check against.
    """

    def __init__(self, manifest: Manifest, graphs: Mapping[str, Graph], limits: Limits) -> None:
        self._entries = manifest.graphs
        self._graphs = graphs
        self._limits = limits
        self._errors: dict[tuple[str, str], list[FloatError] | list[IntegerError]] = {}

    def add(self, run: ReferenceRun) -> None:
        """Run every graph of the bundle on what the model had on one photo.

        Raises:
            VerificationError: the model knows no such graph or output, or a shape or dtype differs.
        """
        for entry in self._entries:
            if entry.name not in run.graphs:
                raise VerificationError(f"the model has nothing to compare the graph {entry.name!r} with")
            sample = run.graphs[entry.name]
            found = run_graph(self._graphs[entry.name], entry, sample.inputs)
            for tensor in entry.outputs:
                reference = np.asarray(sample.outputs[tensor.name])
                value = np.asarray(found[tensor.name])
                if value.shape != reference.shape or value.dtype != reference.dtype:
                    raise VerificationError(
                        f"the output {tensor.name!r} of the graph {entry.name!r} is of another kind",
                        expected=f"{reference.dtype}{list(reference.shape)}",
                        got=f"{value.dtype}{list(value.shape)}",
                    )
                errors = self._errors.setdefault((entry.name, tensor.name), [])
                measure = float_error if np.issubdtype(reference.dtype, np.floating) else integer_error
                errors.append(measure(value, reference))  # type: ignore[arg-type]

    def results(self) -> list[GraphResult]:
        """One result a graph; a graph that was never run has no tensors and does not pass."""
        return [
            GraphResult(entry.name, entry.role, entry.precision, tuple(self._tensors(entry))) for entry in self._entries
        ]

    def _tensors(self, entry: GraphEntry) -> list[TensorResult]:
        results = []
        for tensor in entry.outputs:
            errors = self._errors.get((entry.name, tensor.name))
            if not errors:
                continue
            keys = (entry.role, entry.precision, tensor.name)
            is_float = isinstance(errors[0], FloatError)
            limit = self._limits.float_limit(*keys) if is_float else self._limits.integer_limit(*keys)
            results.append(TensorResult(tensor.name, tuple(errors), limit))  # type: ignore[arg-type]
        return results
