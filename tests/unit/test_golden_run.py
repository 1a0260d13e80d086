"""Backends that compute otherwise: each is caught when a bundle is opened, by graph and layer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import EngineError, InexactBackendError, UsageError
from ptp_runtime.golden.run import read_golden, run_golden
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.selftest.pocket_integer import Convolve, convolve_float32, convolve_float64
from ptp_runtime.session import Session

pytestmark = pytest.mark.runtime

Array = npt.NDArray[Any]


def off_by_one(layer: str, bits: int, low: int = 0, high: int = 4095) -> Convolve:
    """One integer weight of one layer one larger: in the middle, of the output that shows it most behind its clip."""

    def convolve(name: str, x: Array, weight: Array, bias: Array) -> Array:
        sums = convolve_float32(name, x, weight, bias)
        if name != layer:
            return sums
        channel = int(np.abs(x).sum((1, 2)).argmax())
        more = sums + x[channel] * np.float32(2.0**-bits)
        changed = np.clip(np.floor(more), low, high) != np.clip(np.floor(sums), low, high)
        output = int(changed.sum((1, 2)).argmax())
        sums[output] = more[output]
        return sums

    return convolve


def tf32(name: str, x: Array, weight: Array, bias: Array) -> Array:
    """Operands cut to 10 bits behind the leading one."""

    def cut(values: Array) -> Array:
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
        return bits.view(np.float32)

    return convolve_float32(name, cut(x), cut(weight), bias)


def fp16_sums(name: str, x: Array, weight: Array, bias: Array) -> Array:
    """Products that are added in half precision, input channel by input channel."""
    sums = np.repeat(bias.astype(np.float16)[:, None, None], x.shape[1], 1).repeat(x.shape[2], 2)
    with np.errstate(over="ignore", invalid="ignore"):
        for channel in range(x.shape[0]):
            part = convolve_float32(name, x[channel : channel + 1], weight[:, channel : channel + 1], 0 * bias)
            sums = (sums + part.astype(np.float16)).astype(np.float16)
    return np.nan_to_num(sums.astype(np.float32), posinf=65504, neginf=-65504)


def winograd(name: str, x: Array, weight: Array, bias: Array) -> Array:
    """Rounding noise of a transform with fractions: some units in the last place of the largest sum."""
    sums = convolve_float32(name, x, weight, bias)
    noise = np.random.default_rng(1).normal(0, 2.0**-22, sums.shape) * np.abs(sums).max()
    noisy: Array = (sums + noise).astype(np.float32)
    return noisy


SABOTAGES: dict[str, tuple[Convolve, str, str]] = {
    "a weight of the first layer": (off_by_one("hyper/0", 3), "hyper", "hyper/0"),
    "a weight of a part": (off_by_one("hyper/part/2", 6), "hyper", ""),
    "a weight of a step's first layer": (off_by_one("step_01/0", 6), "step_01", "step_01/0"),
    "a weight of an index": (off_by_one("step_02/index", 14, 0, 63), "step_02", "step_02/index"),
    "a weight of a mean": (off_by_one("step_03/mean", 8, -8191, 8191), "step_03", "step_03/mean"),
    "a weight of a context": (off_by_one("step_00/context", 9, -1023, 1023), "step_00", "step_00/context"),
    "TF32 operands": (tf32, "hyper", "hyper/mu"),
    "FP16 sums": (fp16_sums, "hyper", "hyper/0"),
    "Winograd noise": (winograd, "hyper", "hyper/0"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With the checkerboard, whose steps leave contexts for one another."""
    return Bundle.open(write_pocket_bundle(tmp_path_factory.mktemp("golden") / "bundle", task="view", mode="integer"))


class _Shy(PocketBackend):
    """A backend that cannot show its layers, as compiled engines cannot."""

    load_layers = None  # type: ignore[assignment]


@pytest.mark.parametrize("context", ["checkerboard", "zigzag", "whole"])
@pytest.mark.parametrize("convolve", [convolve_float32, convolve_float64])
def test_an_exact_backend_passes(tmp_path: Path, context: str, convolve: Convolve) -> None:
    folder = write_pocket_bundle(tmp_path / "bundle", task="view", context=context, mode="integer")

    with Session.open(folder, backend=PocketBackend(convolve)) as session:
        assert session.golden is not None
        assert session.golden.exact
        assert session.golden.digest == session.golden.expected
        assert session.golden.milliseconds > 0


@pytest.mark.parametrize("name", SABOTAGES)
def test_an_inexact_backend_is_refused_by_graph_and_layer(bundle: Bundle, name: str) -> None:
    convolve, graph, layer = SABOTAGES[name]

    with pytest.raises(InexactBackendError) as caught:
        Session.open(bundle, backend=PocketBackend(convolve))

    error = caught.value
    assert (error.backend, error.graph, error.layer) == ("pocket", graph, layer)
    assert f"graph {graph!r}" in str(error)
    assert (f"layer {layer!r}" if layer else "output 'part_02'") in str(error)
    assert error.expected != error.got
    assert "--inexact cpu" in error.hint


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_backend_without_layers_names_the_output(bundle: Bundle, name: str) -> None:
    convolve, graph, _ = SABOTAGES[name]

    with pytest.raises(InexactBackendError, match=f"graph '{graph}', output '") as caught:
        Session.open(bundle, backend=_Shy(convolve))

    assert (caught.value.graph, caught.value.layer) == (graph, "")


def test_the_result_tells_what_differs_and_by_how_much(bundle: Bundle) -> None:
    test = read_golden(bundle)
    assert test is not None
    backend = PocketBackend(off_by_one("step_02/mean", 8))
    graphs = {g.name: backend.load(bundle, g) for g in bundle.manifest.graphs if g.role == "entropy"}

    result = run_golden(test, bundle.manifest, backend, graphs)

    assert [(fault.graph, fault.output) for fault in result.faults] == [("step_02", "mean")]
    assert "values differ, by up to" in result.faults[0].detail
    assert result.digest != result.expected == test.digest
    assert set(result.inputs) == {"part_02", "y_int"}


def test_a_step_is_not_blamed_for_the_latent_of_the_step_before(bundle: Bundle) -> None:
    """Every mean of the first step is wrong; what the others read of it comes from the file."""

    class Wrong(PocketBackend):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            if graph.name == "step_00":
                run = loaded.run
                loaded.run = lambda inputs: (found := run(inputs)) | {"mean": found["mean"] + np.int16(1)}  # type: ignore[method-assign]
            return loaded

    test, backend = read_golden(bundle), Wrong()
    assert test is not None
    graphs = {g.name: backend.load(bundle, g) for g in bundle.manifest.graphs if g.role == "entropy"}

    faults = run_golden(test, bundle.manifest, backend, graphs).faults

    assert [fault.graph for fault in faults] == ["step_00"]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found | {"index": found["index"].astype(np.int32)},
        lambda found: found | {"mean": found["mean"][:, :, :, 1:]},
    ],
    ids=["another dtype", "another shape"],
)
def test_an_output_of_another_kind_is_a_fault(bundle: Bundle, change: Callable[[dict[str, Array]], Any]) -> None:
    class Wrong(PocketBackend):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            if graph.name == "step_01":
                run = loaded.run
                loaded.run = lambda inputs: change(run(inputs))  # type: ignore[method-assign]
            return loaded

    with pytest.raises(InexactBackendError, match=r"graph 'step_01'.* instead of "):
        Session.open(bundle, backend=Wrong())


def test_a_backend_that_cannot_run_the_test_is_refused(bundle: Bundle) -> None:
    """As an engine whose profile does not reach down to the test's size."""

    class Narrow(PocketBackend):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            if graph.name == "hyper":

                def run(_: Any) -> Any:
                    raise EngineError("the engine does not take this shape")

                loaded.run = run  # type: ignore[method-assign]
            return loaded

    with pytest.raises(InexactBackendError, match="cannot run the golden test") as caught:
        Session.open(bundle, backend=Narrow())

    assert "does not take this shape" in caught.value.got


def test_a_float_path_is_not_tested(tmp_path: Path) -> None:
    with Session.open(write_pocket_bundle(tmp_path / "bundle"), backend=PocketBackend()) as session:
        assert session.golden is None


def test_a_bundle_without_a_test_opens_and_says_so_once(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    entropy = dataclasses.replace(bundle.manifest.entropy, golden=None)
    old = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, entropy=entropy))
    with caplog.at_level(logging.INFO, logger="ptp_runtime"), Session.open(old, backend=PocketBackend()) as session:
        session.decode(session.encode(np.zeros((64, 64, 3), np.uint8)))

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "no golden test" in warnings[0]
    assert session.golden is None


@pytest.mark.parametrize("inexact", ["", "gpu", "Auto"])
def test_an_unknown_policy_lists_the_known(bundle: Bundle, inexact: str) -> None:
    with pytest.raises(UsageError, match="auto, refuse, cpu"):
        Session.open(bundle, backend=PocketBackend(), inexact=inexact)


@pytest.mark.parametrize("inexact", ["auto", "refuse"])
def test_a_backend_given_as_an_object_is_not_replaced(bundle: Bundle, inexact: str) -> None:
    with pytest.raises(InexactBackendError):
        Session.open(bundle, backend=PocketBackend(tf32), inexact=inexact)


def test_a_refused_backend_frees_its_graphs(bundle: Bundle) -> None:
    closed: list[str] = []

    class Counting(PocketBackend):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            loaded.close = lambda: closed.append(graph.name)  # type: ignore[method-assign]
            return loaded

    with pytest.raises(InexactBackendError):
        Session.open(bundle, backend=Counting(tf32))

    assert sorted(closed) == sorted(graph.name for graph in bundle.manifest.graphs)
