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
        self.earlier: list[bytes] = []
        self.hardware_compatibility_level = ""
        self.profiling_verbosity = ""
        self.progress_monitor: Any = None

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def create_timing_cache(self, earlier: bytes) -> Any:
        self.earlier.append(earlier)
        return None if earlier == b"damaged" else SimpleNamespace(serialize=lambda: earlier + b"+")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return not ignore_mismatch

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


def _builder_module(
    config: _Config, *, typed_flag: bool, tf32: bool, plan: bytes | None = b"plan", engine: Any = None
) -> ModuleType:
    """A stand-in with the names that the worker uses, and no precision flags at all."""
    created: list[int] = []
    tensor = SimpleNamespace(name="x", dtype=SimpleNamespace(name="HALF"), shape=(1, -1))
    layer = SimpleNamespace(
        name="conv",
        type=SimpleNamespace(name="CONVOLUTION"),
        metadata="[ONNX Layer: conv]",
        num_inputs=1,
        get_input=lambda i: SimpleNamespace(name="w", dtype=SimpleNamespace(name="HALF"), shape=(1,)),
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

    def build(network: Any, config: Any) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Choosing", "Building engine", 4)
        alive = [monitor.step_complete("Choosing", step) for step in range(4)]
        monitor.phase_finish("Choosing")
        monitor.step_complete("Building engine", 0)
        monitor.phase_finish("Building engine")
        if plan is None:
            builder_log[-1].log(logger.WARNING, "not so good")
            builder_log[-1].log(logger.ERROR, "no kernel for NonZero\nat line 3")
        return plan if all(alive) else None

    builder_log: list[Any] = []
    builder = SimpleNamespace(
        create_network=create_network,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: profile,
        build_serialized_network=build,
    )
    logger = type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})
    module = ModuleType("stand_in_builder")
    module.__dict__.update(
        __version__="11.1",
        ILogger=logger,
        IProgressMonitor=type("IProgressMonitor", (), {}),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        LayerInformationFormat=SimpleNamespace(JSON="json"),
        HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS="ampere+"),
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda data: engine),
        Builder=lambda log: builder_log.append(log) or builder,
        OnnxParser=lambda net, log: SimpleNamespace(
            parse=lambda data: data == b"onnx", num_errors=1, get_error=lambda i: "bad"
        ),
        NetworkDefinitionCreationFlag=SimpleNamespace(**({"STRONGLY_TYPED": 3} if typed_flag else {})),
        BuilderFlag=SimpleNamespace(
            STRIP_PLAN="STRIP_PLAN", VERSION_COMPATIBLE="VERSION_COMPATIBLE", **({"TF32": "TF32"} if tf32 else {})
        ),
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
        "compatible": [],
        "strip_weights": False,
        "timing_cache": "",
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
        {
            "name": "conv",
            "type": "CONVOLUTION",
            "metadata": "[ONNX Layer: conv]",
            "outputs": ["HALF"],
            "reads": ["w"],
            "writes": ["x"],
        }
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


def test_an_unknown_capability_names_the_known(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request_file.write_text(json.dumps(json.loads(request_file.read_text()) | {"compute_capabilities": ["9.0"]}))
    _install(_builder_module(_RtxConfig(), typed_flag=True, tf32=True), monkeypatch)

    with pytest.raises(ValueError, match=r"no compute capability 9\.0; it knows SM120, SM89"):
        worker.main([str(request_file)])


def test_portability_and_weights_are_passed_on(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"compatible": ["hardware", "version"], "strip_weights": True}
    request_file.write_text(json.dumps(json.loads(request_file.read_text()) | wanted))
    config = _Config()
    _install(_builder_module(config, typed_flag=True, tf32=True), monkeypatch)

    assert worker.main([str(request_file)]) == 0
    assert config.flags == {"VERSION_COMPATIBLE", "STRIP_PLAN"}
    assert config.hardware_compatibility_level == "ampere+"
    assert config.profiling_verbosity == "detailed", "else the engine cannot say what it computes in"


@pytest.mark.parametrize(
    ("before", "after", "tried"),
    [(None, b"+", [b""]), (b"old", b"old+", [b"old"]), (b"damaged", b"+", [b"damaged", b""])],
)
def test_measurements_of_kernels_are_kept(
    request_file: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, after: bytes, tried: list[bytes]
) -> None:
    cache = request_file.with_name("timing.cache")
    if before is not None:
        cache.write_bytes(before)
    request_file.write_text(json.dumps(json.loads(request_file.read_text()) | {"timing_cache": str(cache)}))
    config = _Config()
    _install(_builder_module(config, typed_flag=True, tf32=True), monkeypatch)

    assert worker.main([str(request_file)]) == 0
    assert (cache.read_bytes(), config.earlier) == (after, tried)


def test_an_engine_on_its_device_is_inspected(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = SimpleNamespace(get_engine_information=lambda form: f"in {form}")
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
    for built, key in ((engine, "inspection"), (None, "not_inspected")):
        _install(_builder_module(_Config(), typed_flag=True, tf32=True, engine=built), monkeypatch)
        assert worker.main([str(request_file)]) == 0
        report = json.loads(request_file.with_name("x.json").read_text())
        assert {"inspection", "not_inspected"} & set(report) == {key}
        assert report[key] == ("in json" if built else "the engine does not load on this machine")


class _Lines:
    """Where progress goes; it may be shut."""

    def __init__(self, *, shut: bool = False) -> None:
        self.lines: list[dict[str, Any]] = []
        self._shut = shut

    def write(self, text: str) -> None:
        if self._shut:
            raise BrokenPipeError
        self.lines.append(json.loads(text))

    def flush(self) -> None:
        pass


def test_progress_only_grows_and_ends_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_BETWEEN_LINES_S", -1.0)
    lines = _Lines()
    progress = worker.Progress(lines)
    progress.start("Building engine", None, 2)
    for phase, steps in (("Cloning", 3), ("Choosing", 5)):
        progress.start(phase, "Building engine", steps)
        assert all(progress.step(phase, step) for step in range(steps))
        progress.finish(phase)
        progress.step("Building engine", ("Cloning", "Choosing").index(phase))
    progress.finish("Building engine")

    shares = [line["share"] for line in lines.lines]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert 0.5 in shares
    assert {line["phase"] for line in lines.lines} == {"Building engine", "Cloning", "Choosing"}


def test_a_build_that_nobody_listens_to_stops(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_BETWEEN_LINES_S", -1.0)
    _install(_builder_module(_Config(), typed_flag=True, tf32=True), monkeypatch)
    report = worker.build(json.loads(request_file.read_text()), worker.Progress(_Lines(shut=True)))

    assert "error" in report
    assert not request_file.with_name("x.plan").exists()


def test_a_refusal_is_reported(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(_builder_module(_Config(), typed_flag=True, tf32=True, plan=None), monkeypatch)
    assert worker.main([str(request_file)]) == 1
    assert json.loads(request_file.with_name("x.json").read_text())["error"] == "no kernel for NonZero"
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
    body = bytes([1, 7, 1, 116]) + bytes(16) + b" type=half type=half type=float type=halfway "
    header = b"vtrt" + bytes(12) + (24 + len(body)).to_bytes(8, "little")
    text = plan_text(header + body)
    assert (text.known_format, text.version) == (True, "1.7.1.116")
    assert text.tensors == {"half": 2, "float": 1, "int8": 0}
    assert not plan_text(header + body[:-1]).known_format, "shorter than its header says"
    other = plan_text(b"ptrt")
    assert (other.known_format, other.version) == (False, "")
