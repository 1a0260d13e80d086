"""The build process against stand-ins of the builders: what TensorRT 10, 11 and RTX differ in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ptp_export.engines import worker
from ptp_export.engines.plan_text import plan_text


class _Config:
    def __init__(self) -> None:
        self.flags = {"TF32"}
        self.profiles: list[dict[str, Any]] = []
        self.capabilities: list[str] = []

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def get_flag(self, flag: str) -> bool:
        return flag in self.flags

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile.shapes)


class _RtxConfig(_Config):
    def set_compute_capability(self, capability: str, index: int) -> None:
        assert index == len(self.capabilities)
        self.capabilities.append(capability)


def _builder_module(config: _Config, *, typed_flag: bool, tf32: bool, plan: bytes | None = b"plan") -> ModuleType:
    """A stand-in with the names that the worker uses, and no precision flags at all."""
    created: list[int] = []
    tensor = SimpleNamespace(name="x", dtype=SimpleNamespace(name="HALF"), shape=(1, -1))
    layer = SimpleNamespace(
        name="conv",
        type=SimpleNamespace(name="CONVOLUTION"),
        metadata="[ONNX Layer: conv]",
        num_outputs=1,
        get_output=lambda i: tensor,
    )
    network = SimpleNamespace(
        num_layers=1,
        num_inputs=1,
        num_outputs=1,
        get_layer=lambda i: layer,
        get_input=lambda i: tensor,
        get_output=lambda i: tensor,
    )
    profile = SimpleNamespace(shapes={})
    profile.set_shape = lambda name, *shapes: profile.shapes.__setitem__(name, shapes)

    def create_network(flags: int) -> Any:
        created.append(flags)
        return network

    builder = SimpleNamespace(
        create_network=create_network,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: profile,
        build_serialized_network=lambda net, cfg: plan,
    )
    logger = type("Logger", (), {"INFO": 1, "__init__": lambda self, level: None})
    module = ModuleType("stand_in_builder")
    module.__dict__.update(
        __version__="11.1",
        Logger=logger,
        Builder=lambda log: builder,
        OnnxParser=lambda net, log: SimpleNamespace(
            parse=lambda data: data == b"onnx", num_errors=1, get_error=lambda i: "bad"
        ),
        NetworkDefinitionCreationFlag=SimpleNamespace(**({"STRONGLY_TYPED": 3} if typed_flag else {})),
        BuilderFlag=SimpleNamespace(**({"TF32": "TF32"} if tf32 else {})),
        ComputeCapability=SimpleNamespace(SM89="sm89", SM120="sm120"),
        created=created,
    )
    return module


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    (tmp_path / "x.onnx").write_bytes(b"onnx")
    request = {
        "module": "stand_in_builder",
        "onnx": str(tmp_path / "x.onnx"),
        "plan": str(tmp_path / "x.plan"),
        "report": str(tmp_path / "x.json"),
        "profile": {"x": [[1, 1], [1, 5], [1, 9]]},
        "compute_capabilities": [],
    }
    path = tmp_path / "request.json"
    path.write_text(json.dumps(request))
    return path


def _install(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stand_in_builder", module)


@pytest.mark.parametrize(("typed_flag", "tf32", "flags"), [(True, True, 8), (False, True, 0), (False, False, 0)])
def test_the_strongly_typed_path_serves_all_versions(
    typed_flag: bool, tf32: bool, flags: int, request_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _Config()
    module = _builder_module(config, typed_flag=typed_flag, tf32=tf32)
    _install(module, monkeypatch)
    assert worker.main([str(request_file)]) == 0
    report = json.loads(request_file.with_name("x.json").read_text())
    assert module.created == [flags]
    assert request_file.with_name("x.plan").read_bytes() == b"plan"
    assert report["layers"] == [
        {"name": "conv", "type": "CONVOLUTION", "metadata": "[ONNX Layer: conv]", "outputs": ["HALF"]}
    ]
    assert config.profiles == [{"x": ((1, 1), (1, 5), (1, 9))}]
    if tf32:
        assert report["tf32"] is False, "on by default, and cleared"


def test_compute_capabilities_are_passed_on(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = json.loads(request_file.read_text()) | {"compute_capabilities": ["8.9", "12.0"]}
    request_file.write_text(json.dumps(request))
    config = _RtxConfig()
    _install(_builder_module(config, typed_flag=True, tf32=True), monkeypatch)
    assert worker.main([str(request_file)]) == 0
    assert config.capabilities == ["sm89", "sm120"]
    _install(_builder_module(_Config(), typed_flag=True, tf32=True), monkeypatch)
    with pytest.raises(ValueError, match="compute capabilities"):
        worker.main([str(request_file)])


def test_a_refusal_is_reported(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(_builder_module(_Config(), typed_flag=True, tf32=True, plan=None), monkeypatch)
    assert worker.main([str(request_file)]) == 1
    assert json.loads(request_file.with_name("x.json").read_text())["error"] == "the builder gave no engine"
    request_file.with_name("x.onnx").write_bytes(b"garbage")
    assert worker.main([str(request_file)]) == 1
    assert json.loads(request_file.with_name("x.json").read_text())["error"] == "bad"
    assert worker.main([]) == 2


def test_the_worker_imports_nothing_of_ours() -> None:
    """It is started by its path, in a process that a builder may take down."""
    source = Path(worker.__file__).read_text(encoding="utf-8")
    assert "import ptp_" not in source
    assert "from ptp_" not in source


def test_the_smoke_check_reads_what_plans_of_1_7_have() -> None:
    header = b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + bytes(16)
    text = plan_text(header + b" type=half type=half type=float type=halfway ")
    assert (text.known_format, text.version) == (True, "1.7.1.116")
    assert text.tensors == {"half": 2, "float": 1, "int8": 0}
    other = plan_text(b"ptrt")
    assert (other.known_format, other.version) == (False, "")
