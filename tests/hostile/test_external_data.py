"""An ONNX file that keeps its weights elsewhere cannot make the runtime read a file: it is loaded from memory."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402 - only where onnx is installed

from ptp_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend  # noqa: E402 - as above
from ptp_runtime.bundle import Bundle  # noqa: E402 - as above
from ptp_runtime.errors import EngineError  # noqa: E402 - as above
from ptp_runtime.manifest import TensorInfo  # noqa: E402 - as above
from ptp_runtime.selftest import write_pocket_bundle  # noqa: E402 - as above

SECRET = np.arange(4, dtype=np.float32)


def _model(location: str | None) -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], SECRET.tobytes(), raw=True)
    if location is not None:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        weight.external_data.add(key="length", value="16")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _run(bundle: Bundle, model: bytes) -> np.ndarray:
    (bundle.path / "graphs/head.json").write_bytes(model)
    tensors = [TensorInfo(name, "float32", (4,)) for name in "xy"]
    entry = dataclasses.replace(
        bundle.manifest.graph("head"),
        sha256=hashlib.sha256(model).hexdigest(),
        inputs=(tensors[0],),
        outputs=(tensors[1],),
    )
    graph = OnnxRuntimeBackend("cpu", 1).load(bundle, entry)
    return np.asarray(graph.run({"x": np.zeros(4, np.float32)})["y"])


@pytest.mark.parametrize("where", ["absolute", "above", "inside", "here", "link"])
def test_weights_elsewhere_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    bundle = Bundle.open(write_pocket_bundle(tmp_path / "bundle"))
    secret = tmp_path / "secret.bin"
    secret.write_bytes(SECRET.tobytes())
    (bundle.path / "graphs/weights.bin").write_bytes(SECRET.tobytes())
    (bundle.path / "graphs/link.bin").symlink_to(secret)
    monkeypatch.chdir(tmp_path if where == "here" else bundle.path / "graphs")
    location = {
        "absolute": os.fspath(secret),
        "above": "../../secret.bin",
        "inside": "weights.bin",
        "here": "secret.bin",
        "link": "link.bin",
    }[where]
    assert np.array_equal(_run(bundle, _model(None)), SECRET), "the model itself is sound"

    with pytest.raises(EngineError, match="cannot load the graph 'head'"):
        _run(bundle, _model(location))
