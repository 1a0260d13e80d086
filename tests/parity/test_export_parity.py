"""Exported graphs against torch, for both transforms and both contexts, on a real photo at awkward sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.graphs.interface import Graph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.oracle.graph_sample import GraphSample
from ptp_export.oracle.photo_sizes import fit_photo
from ptp_export.oracle.reference import ReferenceChain, ReferenceRun
from ptp_export.sizes import Size
from ptp_export.verify.measure import float_error, integer_error
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_runtime.images import load_image

SIZES = (Size(1, 1), Size(64, 64), Size(65, 130))


def _chain(transform: str, context: str, *, loud_prompts: bool, rates: int = 1) -> ReferenceChain:
    """A codec with random weights; its prompts add something, or nothing as when freshly built."""
    torch.manual_seed(11)
    codec = FeatureCodec(preset("tiny", transform=transform, context=context, rates=rates)).eval()
    prompts = TaskPrompts(codec.spec).eval()
    if loud_prompts:
        with torch.no_grad():
            for parameter in prompts.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return ReferenceChain(codec, prompts, None)


def _graphs(chain: ReferenceChain) -> dict[str, Graph]:
    graphs = graphs_from_model(chain.codec, "view", chain.prompts, chain.teacher)
    return {graph.name: graph for graph in graphs}


@pytest.fixture(scope="module")
def photo(cat_photo: Path) -> np.ndarray:  # type: ignore[type-arg]
    return load_image(cat_photo)


@pytest.fixture(scope="module")
def swin_zigzag() -> ReferenceChain:
    return _chain("swin", "zigzag", loud_prompts=True)


def _assert_equal(file: OnnxGraph, sample: GraphSample) -> None:
    session = onnxruntime.InferenceSession(file.data, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in file.outputs]
    found = session.run(names, {spec.name: sample.inputs[spec.name] for spec in file.inputs})
    for name, value in zip(names, found, strict=True):
        reference = np.asarray(sample.outputs[name])
        assert value.shape == reference.shape
        assert value.dtype == reference.dtype
        if np.issubdtype(reference.dtype, np.floating):
            error = float_error(value, reference)
            assert error.worst < 1e-4, f"{file.name} {name}: {error}"
        else:
            error_count = integer_error(value, reference)
            assert error_count.share <= 1e-3, f"{file.name} {name}: {error_count}"
            assert error_count.largest <= 1


def _runs(chain: ReferenceChain, photo: np.ndarray) -> list[ReferenceRun]:  # type: ignore[type-arg]
    return [chain.run(fit_photo(photo, size)) for size in SIZES]


@pytest.mark.parametrize("name", ["analysis", "synthesis", "step_11"])
def test_swin_and_zigzag_graphs_compute_what_torch_computes(
    name: str,
    swin_zigzag: ReferenceChain,
    photo: np.ndarray,  # type: ignore[type-arg]
) -> None:
    file = onnx_from_graph(_graphs(swin_zigzag)[name])
    for run in _runs(swin_zigzag, photo):
        _assert_equal(file, run.graphs[name])


@pytest.mark.parametrize("name", ["hyper", "head"])
def test_untrained_prompts_survive_the_export(name: str, photo: np.ndarray) -> None:  # type: ignore[type-arg]
    """Their last layers are zeros, which an exporter drops or merges when it sees them."""
    chain = _chain("cnn", "checkerboard", loud_prompts=False)
    graph = _graphs(chain)[name]
    file = onnx_from_graph(graph)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.model.graph.initializer}
    parameters = graph.prompt_parameters()
    assert bool(parameters) == (name == "hyper")
    for parameter, value in parameters.items():
        np.testing.assert_array_equal(stored[parameter], value.numpy())
    assert any(not value.numpy().any() for value in parameters.values()) == bool(parameters)
    for run in _runs(chain, photo):
        _assert_equal(file, run.graphs[name])


@pytest.mark.parametrize("name", ["analysis", "synthesis"])
def test_one_graph_serves_all_rates(name: str, photo: np.ndarray) -> None:  # type: ignore[type-arg]
    """Of a codec whose analysis begins with the teacher's stem."""
    chain = _chain("stem", "checkerboard", loud_prompts=True, rates=3)
    file = onnx_from_graph(_graphs(chain)[name])
    assert not any(node.op_type == "BatchNormalization" for node in file.model.graph.node)
    assert [spec.dims for spec in file.inputs if spec.name == "gain"] == [(1, 48, 1, 1)]
    outputs = []
    for rate, size in enumerate(SIZES):
        run = chain.run(fit_photo(photo, size), rate)
        _assert_equal(file, run.graphs[name])
        outputs.append(chain.run(fit_photo(photo, SIZES[1]), rate).graphs["analysis"].outputs["y"])
    assert np.abs(outputs[0]).mean() < np.abs(outputs[1]).mean() < np.abs(outputs[2]).mean(), "the gain is not read"


def test_a_first_step_declares_only_the_inputs_it_reads() -> None:
    graphs = _graphs(_chain("cnn", "checkerboard", loud_prompts=False))
    first, second = onnx_from_graph(graphs["step_00"]), onnx_from_graph(graphs["step_01"])
    assert [spec.name for spec in first.inputs] == ["mu_hyper", "scale_hyper"]
    assert [spec.name for spec in second.inputs] == ["mu_hyper", "scale_hyper", "y_int"]
    assert first.inputs[0].dims == (1, 48, "4*h", "4*w")
    assert [(spec.name, spec.dtype) for spec in first.outputs] == [("index", "uint8"), ("mean", "int16")]


def test_a_static_export_has_numbers_for_sizes(photo: np.ndarray) -> None:  # type: ignore[type-arg]
    chain = _chain("cnn", "checkerboard", loud_prompts=True)
    size = Size(65, 130)
    run = chain.run(fit_photo(photo, size))
    for name, shape in (("head", (1, 24, 17, 33)),):
        file = onnx_from_graph(_graphs(chain)[name], size)
        assert file.inputs[0].dims == shape
        _assert_equal(file, run.graphs[name])


_SECOND_EXPORT = """
import torch
torch.manual_seed(11)
import ptp_model
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
codec = FeatureCodec(preset("tiny")).eval()
graphs = {graph.name: graph for graph in graphs_from_model(codec, "view", None, None)}
print(onnx_from_graph(graphs["head"]).sha256)
"""


def test_the_same_model_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    """In this process twice, and in another with another seed for Python's hashes, from another folder."""
    chain = _chain("cnn", "checkerboard", loud_prompts=False)
    graph = {g.name: g for g in graphs_from_model(chain.codec, "view", None, None)}["head"]
    first, second = onnx_from_graph(graph), onnx_from_graph(graph)
    assert first.data == second.data
    environment = os.environ | {"PYTHONHASHSEED": "4321", "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SECOND_EXPORT],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert other.stdout.split()[-1] == first.sha256


def test_no_trace_of_this_machine_is_in_a_file(repository: Path) -> None:
    chain = _chain("cnn", "checkerboard", loud_prompts=False)
    data = onnx_from_graph(_graphs(chain)["head"]).data
    for trace in (
        str(repository).encode(),
        sys.prefix.encode(),
        b"site-packages",
        b".py",
        b"ptp_model",
        b"stack_trace",
    ):
        assert trace not in data
