"""Running the golden test on loaded graphs, and finding the layer that differs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptp_runtime.backends import Backend, Graph, LayerBackend
from ptp_runtime.bundle import Bundle
from ptp_runtime.entropy_path import carried_tensors, place_of, run_graph, write_decoded
from ptp_runtime.errors import BundleError, EngineError, InexactBackendError
from ptp_runtime.golden.stored import GOLDEN_LIMIT, GoldenTest, results_digest, value_digest
from ptp_runtime.manifest import HYPER_GRAPH, GraphEntry, Manifest

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Fault:
    """One output that is not what the golden test says.

    Attributes:
        graph: its name in the manifest.
        output: its name.
        detail: how it differs, a clause.
    """

    graph: str
    output: str
    detail: str


@dataclass(frozen=True)
class GoldenResult:
    """What one backend made of the golden test.

    Attributes:
        backend: its name.
        provider: for people: library, version, device.
        digest: of what it computed (:func:`~ptp_runtime.golden.stored.results_digest`), 64 hex digits.
        expected: the same of the file.
        milliseconds: the run took, without loading.
        faults: in the order of the graphs; empty where the backend is exact.
        inputs: of the first graph with a fault, by name.
    """

    backend: str
    provider: str
    digest: str
    expected: str
    milliseconds: float
    faults: tuple[Fault, ...]
    inputs: Arrays = field(default_factory=dict, compare=False, repr=False)

    @property
    def exact(self) -> bool:
        """Whether every value is the stored one."""
        return not self.faults


def read_golden(bundle: Bundle) -> GoldenTest | None:
    """The golden test of a bundle; None where its path is not an integer path, or an older exporter wrote it.

    Raises:
        BundleError: the file cannot be read, or belongs to another entropy path than the manifest describes.
    """
    entry = bundle.manifest.entropy.golden
    if entry is None:
        return None
    test = GoldenTest.from_bytes(bundle.read(entry, GOLDEN_LIMIT))
    _require_fit(test, bundle.manifest)
    return test


def _require_fit(test: GoldenTest, manifest: Manifest) -> None:
    entropy = manifest.entropy
    found: list[object] = [test.z_hat.shape[0], test.q.shape[0], *((s.channels, s.region) for s in test.steps)]
    wanted: list[object] = [entropy.hyper_channels, entropy.latent_channels]
    wanted += [(s.channels, s.region) for s in entropy.schedule]
    if found != wanted:
        raise _unfit(str(wanted)[:200], str(found)[:200])
    read = {tensor.name for step in entropy.schedule for tensor in manifest.graph(step.graph).inputs}
    hyper = {tensor.name for tensor in manifest.graph(HYPER_GRAPH).outputs} & read
    tested = [test.outputs, *(step.outputs for step in test.steps)]
    needed = [hyper, *(set(names) for names in carried_tensors(manifest))]
    for outputs, names in zip(tested, needed, strict=True):
        # An untested tensor between two graphs would let an inexact backend pass; an unknown one cannot be looked at.
        if set(outputs) != names:
            raise _unfit(
                "a value for each tensor that a later step reads: " + (", ".join(sorted(names)) or "none"),
                ", ".join(sorted(outputs)) or "none",
            )


def _unfit(expected: str, got: str) -> BundleError:
    return BundleError(
        "golden.bin belongs to another entropy path", expected=expected, got=got, hint="export the bundle again"
    )


def run_golden(test: GoldenTest, manifest: Manifest, backend: Backend, graphs: Mapping[str, Graph]) -> GoldenResult:
    """Run every entropy graph on the stored inputs and compare.

    A graph reads what the graphs before it gave on this backend, so the first one with a fault is the one to blame;
    the latent it reads comes from the file.

    Args:
        test: it fits the manifest.
        manifest: of the bundle.
        backend: that loaded the graphs; its name is for the result.
        graphs: loaded, by name.

    Raises:
        EngineError: a graph refused to run.
    """
    start = time.perf_counter()
    results: list[tuple[str, str, int]] = []
    faults: list[Fault] = []
    suspect: Arrays = {}

    def run(label: str, entry: GraphEntry, exact: Arrays, digests: Mapping[str, int], inputs: Arrays) -> Arrays:
        nonlocal suspect
        outputs = run_graph(graphs[entry.name], entry, inputs)
        before = len(faults)
        for name, wanted in exact.items():
            results.append((label, name, value_digest(outputs[name])))
            if clause := _difference(outputs[name], wanted):
                faults.append(Fault(entry.name, name, clause))
        for name, digest in digests.items():
            results.append((label, name, value_digest(outputs[name])))
            if results[-1][2] != digest:
                faults.append(Fault(entry.name, name, "values differ"))
        if faults and not before:
            suspect = {tensor.name: inputs[tensor.name] for tensor in entry.inputs}
        return outputs

    z_hat = test.z_hat[None].astype(np.float32)
    tensors = dict(run("hyper", manifest.graph(HYPER_GRAPH), {}, test.outputs, {"z_hat": z_hat}))
    latent = np.zeros((1, *test.q.shape), np.float32)
    for number, (scheduled, step) in enumerate(zip(manifest.entropy.schedule, test.steps, strict=True)):
        # Copied: a backend may still hold the array of the step before.
        inputs = {**tensors, "y_int": latent.copy()}
        exact: Arrays = {"index": step.index[None], "mean": step.mean[None]}
        outputs = run(f"step {number}", manifest.graph(scheduled.graph), exact, step.outputs, inputs)
        tensors |= {name: outputs[name] for name in step.outputs}
        place = place_of(scheduled, *test.q.shape[1:])
        write_decoded(latent[0], test.q[place.box].astype(np.int32), step.mean, place)
    return GoldenResult(
        backend=backend.name,
        provider=backend.provider,
        digest=results_digest(results),
        expected=test.digest,
        milliseconds=1e3 * (time.perf_counter() - start),
        faults=tuple(faults),
        inputs=suspect,
    )


def _difference(got: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> str:
    """How an array differs from what it must be, as a clause; empty where it does not."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return f"{got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}"
    count = int(np.count_nonzero(got != wanted))
    if not count:
        return ""
    furthest = int(np.abs(got.astype(np.int64) - wanted).max())
    return f"{count} of {wanted.size} values differ, by up to {furthest}"


def require_exact(test: GoldenTest, bundle: Bundle, backend: Backend, graphs: Mapping[str, Graph]) -> GoldenResult:
    """Run the golden test and refuse a backend that fails it.

    Raises:
        InexactBackendError: names the backend, the first graph that differs and, where the backend can show it, the
            layer; also where the backend cannot run the test at all.
    """
    try:
        result = run_golden(test, bundle.manifest, backend, graphs)
    except EngineError as error:
        raise InexactBackendError(
            f"{backend.provider} cannot run the golden test of this bundle's entropy path",
            got=error.message,
            hint=_hint(backend),
            backend=backend.name,
        ) from error
    if result.exact:
        return result
    first = result.faults[0]
    layer = wrong_layer(test, bundle, backend, result)
    others = len({fault.graph for fault in result.faults}) - 1
    raise InexactBackendError(
        f"{backend.provider} does not compute the integer entropy path of this bundle exactly: graph {first.graph!r}"
        + (f", layer {layer!r}" if layer else f", output {first.output!r}"),
        expected=f"golden digest {result.expected[:16]}",
        got=f"{result.digest[:16]}; {first.output}: {first.detail}" + (f"; {others} more graphs" if others else ""),
        hint=_hint(backend),
        backend=backend.name,
        graph=first.graph,
        layer=layer,
    )


def _hint(backend: Backend) -> str:
    if backend.name == "cpu":
        return "install another version of onnxruntime, and report this with the output of `ptp doctor`"
    return "let the entropy path run on the CPU (--inexact cpu), or choose another --backend: the streams are the same"


def wrong_layer(test: GoldenTest, bundle: Bundle, backend: Backend, result: GoldenResult) -> str:
    """The first layer, of the first graph with a fault, whose tensor is not the stored one.

    Args:
        test, bundle, backend: as for :func:`require_exact`.
        result: of that backend.

    Returns:
        The layer's name; empty where there is no fault, the backend cannot show its layers, or none of them differs
        once all of them are outputs.
    """
    if result.exact:
        return ""
    graph = result.faults[0].graph
    entry = bundle.manifest.graph(graph)
    names = [step.graph for step in bundle.manifest.entropy.schedule]
    layers = test.layers if graph == HYPER_GRAPH else test.steps[names.index(graph)].layers
    if not layers or not isinstance(backend, LayerBackend):
        return ""
    outputs = {tensor.name for tensor in entry.outputs}
    try:
        shown = backend.load_layers(bundle, entry, [name for name in layers if name not in outputs])
        try:
            found = shown.run(result.inputs)
        finally:
            shown.close()
    except EngineError:
        # The graph itself was refused already; that it does not show its layers is no second fault.
        return ""
    return next((name for name, digest in layers.items() if value_digest(found[name]) != digest), "")
