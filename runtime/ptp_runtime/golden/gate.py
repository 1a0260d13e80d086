"""The golden test at the door: which backend may run an integer entropy path, and what happens if one may not."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ptp_runtime.backends import (
    BACKEND_NAMES,
    INEXACT_POLICIES,
    Backend,
    Graph,
    LoadedGraphs,
    load_graphs,
    with_entropy_on_cpu,
)
from ptp_runtime.backends.prompted_graph import load_graph
from ptp_runtime.backends.selection import load_another_task, open_backend, runs_entropy
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendError, InexactBackendError, PtpError, UsageError
from ptp_runtime.golden.run import GoldenResult, read_golden, require_exact, run_golden, wrong_layer

_log = logging.getLogger(__name__)


def open_graphs(
    bundle: Bundle, backend: str | Backend, threads: int | None, inexact: str = "auto"
) -> tuple[LoadedGraphs, GoldenResult | None]:
    """Load all graphs of a bundle and, in the mode ``integer``, run its golden test on them.

    Args:
        bundle, backend, threads: see :func:`~ptp_runtime.backends.load_graphs`.
        inexact: what to do with a backend that fails the test. ``refuse``: an error. ``cpu``: the entropy graphs run in
            ONNX Runtime on the CPU, which is tested in its turn. ``auto``: ``cpu`` where the backend was not asked for
            by name, else ``refuse``. The streams are the same in every case.

    Returns:
        The graphs, and what the backend of the entropy path made of the test; None where there is no test.

    Raises:
        UsageError: no such policy, or as ``load_graphs``.
        InexactBackendError: the backend is not exact, and nothing takes its place.
        BackendError, BundleError: as ``load_graphs``; or the golden test cannot be read.
    """
    if inexact not in INEXACT_POLICIES:
        raise UsageError(
            "there is no such way to treat an inexact backend", expected=", ".join(INEXACT_POLICIES), got=repr(inexact)
        )
    test = read_golden(bundle)
    loaded = load_graphs(bundle, backend, threads)
    if test is None:
        if bundle.manifest.entropy.mode == "integer":
            _log.warning(
                "the bundle %s has no golden test: whether %s computes its entropy path exactly is not known",
                bundle.path,
                loaded.choice.entropy.provider,
            )
        return loaded, None
    may_replace = inexact == "cpu" or (inexact == "auto" and backend == "auto")
    try:
        try:
            return loaded, require_exact(test, bundle, loaded.choice.entropy, loaded.by_name)
        except InexactBackendError as error:
            if not may_replace or loaded.choice.entropy.name == "cpu":
                raise
            loaded = with_entropy_on_cpu(bundle, loaded, threads, error.message)
            _log.warning("%s; its entropy path runs on %s", error.message, loaded.choice.entropy.provider)
        return loaded, require_exact(test, bundle, loaded.choice.entropy, loaded.by_name)
    except PtpError:
        loaded.close()
        raise


def open_another_task(
    bundle: Bundle, loaded: LoadedGraphs, of: Bundle, threads: int | None
) -> tuple[LoadedGraphs, GoldenResult | None]:
    """Graphs of another task beside those that are loaded, with the golden test of that task.

    Args, errors: see :func:`~ptp_runtime.backends.selection.load_another_task`.

    Raises:
        InexactBackendError: the backend of the entropy path is not exact with this task's prompt.
    """
    test = read_golden(bundle)
    graphs = load_another_task(bundle, loaded, of, threads)
    if test is None:
        return graphs, None
    return graphs, require_exact(test, bundle, graphs.choice.entropy, graphs.by_name)


@dataclass(frozen=True)
class Examination:
    """What came of the golden test on one backend of this machine.

    Attributes:
        backend: its name.
        result: None where the test could not be run.
        reason: why it could not; empty where it was.
        layer: the first layer that differs, where the backend can show it.
    """

    backend: str
    result: GoldenResult | None
    reason: str = ""
    layer: str = ""

    def sentence(self) -> str:
        """For people."""
        if self.result is None:
            return f"not tested: {self.reason}"
        result = self.result
        on = f"digest {result.digest[:16]}, {result.milliseconds:.1f} ms on {result.provider}"
        if result.exact:
            return f"exact, {on}"
        first = result.faults[0]
        where = f"graph {first.graph!r}, " + (f"layer {self.layer!r}, " if self.layer else "")
        return f"NOT exact ({where}{first.output}: {first.detail}), {on}; expected digest {result.expected[:16]}"


def examine_backends(bundle: Bundle, threads: int | None = None) -> tuple[Examination, ...]:
    """Run the golden test on every backend of this machine that can run the entropy path; none if there is no test.

    Raises:
        BundleError: the golden test cannot be read.
    """
    test = read_golden(bundle)
    if test is None:
        return ()
    found = []
    entries = [entry for entry in bundle.manifest.graphs if entry.role == "entropy"]
    for name in BACKEND_NAMES[1:]:
        if not runs_entropy(bundle, name):
            found.append(Examination(name, None, "the bundle has no engines of the entropy path for it"))
            continue
        graphs: dict[str, Graph] = {}
        try:
            backend = open_backend(name, threads)
            for entry in entries:
                graphs[entry.name] = load_graph(bundle, entry, backend)
            result = run_golden(test, bundle.manifest, backend, graphs)
            found.append(Examination(name, result, layer=wrong_layer(test, bundle, backend, result)))
        except BackendError as error:
            found.append(Examination(name, None, error.message))
        finally:
            for graph in graphs.values():
                graph.close()
    return tuple(found)
