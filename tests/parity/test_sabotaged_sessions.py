"""A session on a backend that is not exact, on real graphs: refused at the opening; smuggled past, out of step.

The graphs are those of the golden streams. ``tests/unit/test_integer_session.py`` has the same on a pocket model and
without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ptp_export.interop.configurations.configuration import with_layers_shown
from ptp_export.interop.layer_names import layer_names
from ptp_export.interop.torch_graphs import Operator, TorchGraph
from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends import Graph, load_graphs
from ptp_runtime.backends.selection import open_backend
from ptp_runtime.bundle import Bundle
from ptp_runtime.bundle_files import read_gains
from ptp_runtime.entropy_path import place_of, write_decoded
from ptp_runtime.errors import DesynchronisedError, InexactBackendError
from ptp_runtime.golden.run import read_golden
from ptp_runtime.images import load_image
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.session import Session
from ptp_runtime.tables import Tables

STREAMS = Path(__file__).parents[1] / "golden" / "streams"
CONTEXTS = ("checkerboard", "zigzag")
Place = tuple[int, int, int, int]


def _load(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise RuntimeError(f"no module {name}")
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


faults = _load("arithmetic_faults")


class TorchBackend:
    """Runs the entropy graphs with torch, with some operators replaced and some weights changed.

    Args:
        operators: see :class:`~ptp_export.interop.torch_graphs.TorchGraph`.
        changed: layer → place of a weight and the amount that is added to it.
    """

    name = "torch-by-hand"
    provider = "PyTorch, by hand"
    arithmetic = Arithmetic("torch", "by hand", "here")

    def __init__(self, operators: Mapping[str, Operator], changed: Mapping[str, tuple[Place, float]]) -> None:
        self._operators, self._changed = operators, changed
        self._rest = open_backend("cpu", 1)

    def load(self, bundle: Bundle, graph: GraphEntry) -> Graph:
        """See the protocol."""
        if graph.role != "entropy":
            return self._rest.load(bundle, graph)
        return _Run(TorchGraph(self._model(bundle, graph), self._operators))

    def load_layers(self, bundle: Bundle, graph: GraphEntry, layers: Sequence[str]) -> Graph:
        """See the protocol."""
        model = with_layers_shown(self._model(bundle, graph))
        assert set(layers) <= {value.name for value in model.graph.output}
        return _Run(TorchGraph(model, self._operators))

    def _model(self, bundle: Bundle, graph: GraphEntry) -> onnx.ModelProto:
        model = onnx.load_from_string(bundle.read(graph))
        for node in model.graph.node:
            if node.op_type == "Conv" and node.name in self._changed:
                tensor = next(one for one in model.graph.initializer if one.name == node.input[1])
                weight = numpy_helper.to_array(tensor).copy()
                place, amount = self._changed[node.name]
                weight[place] += amount
                tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
        return model


class _Run:
    """One graph."""

    provider = TorchBackend.provider

    def __init__(self, graph: TorchGraph) -> None:
        self._graph = graph

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See the protocol."""
        return self._graph.run(inputs)

    def close(self) -> None:
        """Nothing."""


def _live_weight(bundle: Bundle, graph: str, layer: str) -> tuple[Place, float]:
    """A weight of channel 1 that reads what is not 0 in the golden test, and the amount 2^-n by which it can change."""
    test = read_golden(bundle)
    assert test is not None
    model = onnx.load_from_string(bundle.read(bundle.manifest.graph(graph)))
    node = next(node for node in model.graph.node if node.op_type == "Conv" and node.name == layer)
    weight = next(numpy_helper.to_array(one) for one in model.graph.initializer if one.name == node.input[1])
    unit = next(2.0**-n for n in range(30) if not np.any(np.mod(weight[1] * 2.0**n, 1)))
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    if node.input[0] not in {value.name for value in (*model.graph.input, *model.graph.output)}:
        shown.graph.output.append(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None))
    hyper = TorchGraph(onnx.load_from_string(bundle.read(bundle.manifest.graph("hyper"))))
    inputs = hyper.run({"z_hat": test.z_hat[None].astype(np.float32)})
    # The latent behind the first step, which is what step_01 reads.
    latent = np.zeros((1, *test.q.shape), np.float32)
    place = place_of(bundle.manifest.entropy.schedule[0], *test.q.shape[1:])
    write_decoded(latent[0], test.q[place.box].astype(np.int32), test.steps[0].mean, place)
    inputs["y_int"] = latent
    found = TorchGraph(shown).run(inputs)
    source = int(
        np.abs(found[node.input[0]] if node.input[0] in found else inputs[node.input[0]]).sum((0, 2, 3)).argmax()
    )
    middle = weight.shape[-1] // 2
    return (1, source, middle, middle), unit


def _smuggled(bundle: Bundle, backend: TorchBackend) -> Session:
    """A session that nobody tested."""
    tables = Tables.from_bytes(bundle.read(bundle.manifest.entropy.tables))
    return Session(bundle, load_graphs(bundle, backend, 1), tables, read_gains(bundle))


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_exact_backend_of_other_kernels_is_let_in(context: str) -> None:
    bundle = Bundle.open(STREAMS / context / "bundle")

    with Session.open(bundle, backend=TorchBackend({"Conv": faults.tf32_operands}, {})) as session:
        assert session.golden is not None
        assert session.golden.exact


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("fault", ["tf32_results", "fp16_accumulation"])
def test_another_arithmetic_is_refused_and_its_layer_named(context: str, fault: str) -> None:
    bundle = Bundle.open(STREAMS / context / "bundle")
    hyper = layer_names(onnx.load_from_string(bundle.read(bundle.manifest.graph("hyper"))))

    with pytest.raises(InexactBackendError) as caught:
        Session.open(bundle, backend=TorchBackend({"Conv": getattr(faults, fault)}, {}))

    assert caught.value.graph == "hyper"
    assert caught.value.layer in hyper
    assert caught.value.layer in str(caught.value)


@pytest.mark.parametrize("context", CONTEXTS)
def test_one_weight_off_by_a_few_units_is_refused_and_its_layer_named(context: str) -> None:
    bundle = Bundle.open(STREAMS / context / "bundle")
    model = onnx.load_from_string(bundle.read(bundle.manifest.graph("step_01")))
    for layer in layer_names(model):
        place, unit = _live_weight(bundle, "step_01", layer)

        with pytest.raises(InexactBackendError) as caught:
            Session.open(bundle, backend=TorchBackend({}, {layer: (place, 16 * unit)}))

        assert (caught.value.graph, caught.value.layer) == ("step_01", layer)


@pytest.mark.parametrize("context", CONTEXTS)
def test_smuggled_past_it_falls_out_of_step_where_it_differs(context: str, cat_photo: Path) -> None:
    bundle = Bundle.open(STREAMS / context / "bundle")
    layer = layer_names(onnx.load_from_string(bundle.read(bundle.manifest.graph("step_01"))))[-1]
    backend = TorchBackend({}, {layer: _live_weight(bundle, "step_01", layer)})
    photo = load_image(cat_photo)

    with Session.open(bundle, backend="cpu") as honest, _smuggled(bundle, backend) as smuggled:
        data = honest.encode(photo)
        with pytest.raises(DesynchronisedError) as caught:
            smuggled.decode(data)
        assert caught.value.graph == "step_01"
        # Its own streams it would read; everybody else refuses them at the same step.
        with pytest.raises(DesynchronisedError) as caught:
            honest.decode(smuggled.encode(photo))
        assert caught.value.graph == "step_01"
