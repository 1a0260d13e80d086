"""Choosing the backend, and loading a bundle's graphs with it.

``auto`` takes the fastest way that works here: TensorRT engines, TensorRT-RTX engines, ONNX Runtime on CUDA, ONNX
Runtime on the CPU. A way "works" when every graph has loaded, so that an engine of another version makes the choice
fall through instead of failing later. What was tried and why it was not taken is part of the reason, which is logged;
where a bundle's engines are of no use here, that is said once, as a warning. ONNX Runtime with TensorRT inside compiles
for minutes when it is opened, so that ``auto`` never takes it.

An engine takes the sizes of its profile; larger and smaller photos run in ONNX Runtime (:mod:`.engine_profile`).

The entropy path is chosen apart. In the mode ``float`` it always runs in ONNX Runtime on the CPU: two machines read
each other's streams only as far as they compute the same scale indices, and GPU kernels do not (about 1,200 indices
in a million differ under TF32, 1 % under FP16). In the mode ``integer`` every backend computes the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ptp_runtime.backends.cuda_driver import device_names
from ptp_runtime.backends.engine_profile import ProfiledGraph
from ptp_runtime.backends.prompted_graph import PromptedGraph, bare_entry, load_graph, prompt_of
from ptp_runtime.backends.protocol import Backend, BackendChoice, Graph
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendError, BackendNotAvailableError, UsageError
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.speed import available_cores

BACKEND_NAMES = ("auto", "tensorrt", "tensorrt-rtx", "ort-tensorrt", "ort-tensorrt-rtx", "cuda", "cpu")
"""What ``Session.open(backend=...)`` and ``--backend`` take."""

INEXACT_POLICIES = ("auto", "refuse", "cpu")
"""What ``Session.open(inexact=...)`` and ``--inexact`` take; see :mod:`ptp_runtime.golden.gate`."""

_ENGINES = ("tensorrt", "tensorrt-rtx")

_log = logging.getLogger(__name__)

_warned: set[str] = set()
"""Bundles whose engines were said to be of no use here: once a process is enough."""


@dataclass(frozen=True)
class LoadedGraphs:
    """Every graph of a bundle, ready to run.

    Attributes:
        by_name: the manifest's names.
        choice: which backend, and why.
    """

    by_name: dict[str, Graph]
    choice: BackendChoice

    def close(self) -> None:
        """Free what the graphs hold outside Python."""
        for graph in self.by_name.values():
            graph.close()


def load_graphs(bundle: Bundle, backend: str | Backend, threads: int | None) -> LoadedGraphs:
    """Load all graphs of a bundle.

    Args:
        bundle: an opened bundle.
        backend: one of :data:`BACKEND_NAMES`, or an object of the protocol (all graphs then run on it).
        threads: for ONNX Runtime on the CPU; None: the cores that this process may use.

    Raises:
        UsageError: an unknown name, or a number of threads below 1.
        BackendNotAvailableError: the library or device is missing.
        EngineError: a graph or engine does not load.
    """
    if threads is not None and threads < 1:
        raise UsageError("the number of threads is out of range", expected="at least 1", got=str(threads))
    if not isinstance(backend, str):
        return _load(bundle, backend, backend, "given by the caller")
    if backend not in BACKEND_NAMES:
        raise UsageError("there is no such backend", expected=", ".join(BACKEND_NAMES), got=repr(backend))
    loaded = _auto(bundle, threads) if backend == "auto" else _named(bundle, backend, threads, "asked for by name")
    choice = loaded.choice
    _log.info("backend %s: %s; entropy path: %s", choice.backend.provider, choice.reason, choice.entropy.provider)
    return loaded


def with_entropy_on_cpu(bundle: Bundle, loaded: LoadedGraphs, threads: int | None, why: str) -> LoadedGraphs:
    """The same graphs, those of the entropy path in ONNX Runtime on the CPU; the replaced ones are closed.

    Args:
        bundle, threads: see :func:`load_graphs`.
        loaded: all graphs.
        why: a clause for the reason.

    Raises:
        BackendNotAvailableError: ONNX Runtime is not here.
        EngineError: a graph does not load.
    """
    cpu = _open_cpu(threads)
    entries = [entry for entry in bundle.manifest.graphs if entry.role == "entropy"]
    graphs = dict(loaded.by_name)
    for entry in entries:
        graphs[entry.name] = load_graph(bundle, entry, cpu)
    for entry in entries:
        loaded.by_name[entry.name].close()
    choice = BackendChoice(loaded.choice.backend, cpu, f"{loaded.choice.reason}; entropy path on the CPU: {why}")
    return LoadedGraphs(graphs, choice)


def _auto(bundle: Bundle, threads: int | None) -> LoadedGraphs:
    passed_over: list[str] = []
    useless: list[str] = []
    targets = {engine.target for engine in bundle.manifest.engines}
    for name in _ENGINES:
        if name not in targets:
            passed_over.append(f"{name}: the bundle has no engines for it")
            continue
        try:
            loaded = _named(bundle, name, threads, _reason(name, passed_over))
        except BackendError as error:
            passed_over.append(f"{name}: {error.message}")
            useless.append(f"{name}: {_clause(error)}")
        else:
            return loaded
    try:
        loaded = _named(bundle, "cuda", threads, _reason("cuda", passed_over))
    except BackendError as error:
        passed_over.append(f"cuda: {error.message}")
        loaded = _named(bundle, "cpu", threads, _reason("cpu", passed_over))
    _warn_of_engines(bundle, useless, loaded.choice.backend.provider)
    return loaded


def _clause(error: BackendError) -> str:
    """The error without its advice, which is another one here."""
    expected = f", expected {error.expected}" if error.expected else ""
    return error.message + expected + (f", got {error.got}" if error.got else "")


def _warn_of_engines(bundle: Bundle, useless: list[str], provider: str) -> None:
    """Say once that a bundle's engines are of no use here, and that nothing else changes."""
    if not useless or str(bundle.path) in _warned:
        return
    _warned.add(str(bundle.path))
    _log.warning(
        "the engines of %s cannot be used here (%s): %s runs its graphs, with the same streams; see ptp doctor %s",
        bundle.path,
        "; ".join(useless),
        provider,
        bundle.path,
    )


def _reason(name: str, passed_over: list[str]) -> str:
    tried = "; ".join(passed_over)
    return f"{name} is the first that works here" + (f" (passed over: {tried})" if tried else "")


def _named(bundle: Bundle, name: str, threads: int | None, reason: str) -> LoadedGraphs:
    backend = _OPENERS[name](threads)
    stand_ins = _StandIns(bundle, threads) if name in _ENGINES else None
    if name == "cpu" or (bundle.manifest.entropy.mode == "integer" and runs_entropy(bundle, name)):
        return _load(bundle, backend, backend, reason, stand_ins)
    try:
        entropy = _open_cpu(threads)
    except BackendNotAvailableError as error:
        raise BackendNotAvailableError(
            f"{name} alone cannot run this bundle: its entropy path needs ONNX Runtime on the CPU",
            expected="onnxruntime beside it",
            got=error.got,
            hint="pip install onnxruntime (or onnxruntime-gpu, not both)",
        ) from error
    return _load(bundle, backend, entropy, reason, stand_ins)


def runs_entropy(bundle: Bundle, name: str) -> bool:
    """Whether a bundle has what a backend needs to run every graph of the entropy path."""
    graphs = [graph.name for graph in bundle.manifest.graphs if graph.role == "entropy"]
    return name not in _ENGINES or all(bundle.engine(graph, name) is not None for graph in graphs)


def open_backend(name: str, threads: int | None) -> Backend:
    """A backend without graphs.

    Args:
        name: one of :data:`BACKEND_NAMES`, not ``auto``.
        threads: see :func:`load_graphs`.

    Raises:
        BackendNotAvailableError: the library or device is missing.
    """
    return _OPENERS[name](threads)


def _load(
    bundle: Bundle, backend: Backend, entropy: Backend, reason: str, stand_ins: _StandIns | None = None
) -> LoadedGraphs:
    graphs: dict[str, Graph] = {}
    try:
        for entry in bundle.manifest.graphs:
            chosen = entropy if entry.role == "entropy" else backend
            graphs[entry.name] = _load_one(bundle, entry, chosen, stand_ins)
    except BackendError:
        for graph in graphs.values():
            graph.close()
        raise
    return LoadedGraphs(graphs, BackendChoice(backend, entropy, reason))


def _load_one(bundle: Bundle, entry: GraphEntry, backend: Backend, stand_ins: _StandIns | None) -> Graph:
    """A graph; one with a prompt is loaded without it, for all tasks."""
    prompt = prompt_of(bundle, entry)
    bare = bare_entry(entry, prompt)
    graph = backend.load(bundle, bare)
    graph = graph if stand_ins is None else stand_ins.beside(graph, bare, backend)
    return PromptedGraph(graph, prompt) if prompt else graph


def load_another_task(bundle: Bundle, loaded: LoadedGraphs, of: Bundle, threads: int | None) -> LoadedGraphs:
    """The graphs of another task: those that both share are not loaded again.

    Args:
        bundle: for the other task.
        loaded: the graphs of a task of the same bundle.
        of: that task's bundle.
        threads: see :func:`load_graphs`.

    Raises:
        EngineError: a graph of the task alone does not load.
        BundleError: a file is not the one that was exported.
    """
    choice = loaded.choice
    stand_ins = _StandIns(bundle, threads) if choice.backend.name in _ENGINES else None
    known = {entry.stored()[0]: entry.name for entry in of.manifest.graphs}
    graphs: dict[str, Graph] = {}
    for entry in bundle.manifest.graphs:
        name = known.get(entry.stored()[0])
        if name is None:
            chosen = choice.entropy if entry.role == "entropy" else choice.backend
            if stand_ins is not None and bundle.engine(entry.name, chosen.name) is None:
                graphs[entry.name] = stand_ins.in_place_of(entry)
            else:
                graphs[entry.name] = _load_one(bundle, entry, chosen, stand_ins)
            continue
        graph = loaded.by_name[name]
        shared = graph.shared if isinstance(graph, PromptedGraph) else graph
        graphs[entry.name] = PromptedGraph(shared, prompt_of(bundle, entry), owned=False)
    return LoadedGraphs(graphs, choice)


class _StandIns:
    """Graphs in ONNX Runtime for the sizes that a bundle's engines do not take, opened when they are needed."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self._bundle = bundle
        self._threads = threads

    def beside(self, graph: Graph, entry: GraphEntry, backend: Backend) -> Graph:
        """The graph itself, or, where it is an engine with a profile, one that turns to ONNX Runtime outside of it."""
        engine = self._bundle.engine(entry.name, backend.name)
        if engine is None or not engine.profile:
            return graph
        return ProfiledGraph(graph, engine, lambda: self._load(entry))

    def in_place_of(self, entry: GraphEntry) -> Graph:
        """A graph of a task for which no engine was built."""
        _log.info("no engine was built for %s: ONNX Runtime runs it", entry.file)
        return self._load(entry)

    def _load(self, entry: GraphEntry) -> Graph:
        # Whole numbers are the same everywhere, but only the CPU needs no golden test to be trusted with them.
        if entry.role != "entropy":
            try:
                return _OPENERS["cuda"](self._threads).load(self._bundle, entry)
            except BackendError as error:
                _log.info("no stand-in on CUDA: %s", error.message)
        return _OPENERS["cpu"](self._threads).load(self._bundle, entry)


@contextmanager
def _importing(what: str, hint: str) -> Iterator[None]:
    """Turn the failed import of a library, or of the libraries that it loads in its turn, into the typed error."""
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendNotAvailableError(
            f"{what} cannot be loaded",
            expected="an installation that imports",
            got=str(error).strip().partition("\n")[0] or type(error).__name__,
            hint=hint,
        ) from error


def _open_onnxruntime(device: str, threads: int | None) -> Backend:
    with _importing(
        "ONNX Runtime", "pip install 'ptp-deploy[cpu]' or, for a CUDA device, 'ptp-deploy[gpu]'; never both"
    ):
        from ptp_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend
    return OnnxRuntimeBackend(device, threads or available_cores())


def _open_cpu(threads: int | None) -> Backend:
    return _open_onnxruntime("cpu", threads)


def _open_on_gpu(device: str, threads: int | None) -> Backend:
    backend = _open_onnxruntime(device, threads)
    # Without a device ONNX Runtime prints pages before it turns to the CPU.
    device_names()
    return backend


def _open_tensorrt(threads: int | None) -> Backend:
    with _importing("TensorRT", "pip install 'ptp-deploy[tensorrt]' as the README says, or use --backend cpu"):
        from ptp_runtime.backends.tensorrt_backend import open_backend
    return open_backend()


def _open_tensorrt_rtx(threads: int | None) -> Backend:
    with _importing("TensorRT for RTX", "pip install tensorrt-rtx as the README says, or use --backend cpu"):
        from ptp_runtime.backends.tensorrt_rtx_backend import open_backend
    return open_backend()


_OPENERS: dict[str, Callable[[int | None], Backend]] = {
    "tensorrt": _open_tensorrt,
    "tensorrt-rtx": _open_tensorrt_rtx,
    "ort-tensorrt": lambda threads: _open_on_gpu("ort-tensorrt", threads),
    "ort-tensorrt-rtx": lambda threads: _open_on_gpu("ort-tensorrt-rtx", threads),
    "cuda": lambda threads: _open_on_gpu("cuda", threads),
    "cpu": _open_cpu,
}
