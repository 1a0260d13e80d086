"""``ptp`` on an integer entropy path and on one that is not exact, as processes see it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends import selection
from ptp_runtime.bitstream import read_header
from ptp_runtime.cli import main
from ptp_runtime.errors import BackendNotAvailableError
from ptp_runtime.golden import gate
from ptp_runtime.manifest import json_from_manifest, manifest_from_json
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.selftest.pocket_integer import Convolve, convolve_float32

pytestmark = pytest.mark.runtime

Run = Callable[..., tuple[int, str, str]]


class Machine(PocketBackend):
    """A pocket backend with a name, an arithmetic and, perhaps, a fault."""

    def __init__(self, name: str, convolve: Convolve = convolve_float32, threads: int = 2) -> None:
        super().__init__(convolve)
        self._name = name
        self._threads = threads

    @property
    def name(self) -> str:
        return self._name

    @property
    def provider(self) -> str:
        return f"the machine {self._name}"

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic("CPUExecutionProvider", "onnxruntime 1.31.1", "Linux x86_64", "avx fma avx2", self._threads)


def wrong(layer: str) -> Convolve:
    """All sums of one layer are one larger."""

    def convolve(name: str, x: npt.NDArray[Any], weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Any:
        return convolve_float32(name, x, weight, bias) + np.float32(name == layer)

    return convolve


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Which backends the machine has from now on."""

    def build(*present: Machine) -> None:
        def absent(_: int | None) -> Any:
            raise BackendNotAvailableError("nothing of that kind here", hint="use --backend cpu")

        def opener(backend: Machine) -> Callable[[int | None], Machine]:
            return lambda _: backend

        openers = dict.fromkeys(selection._OPENERS, absent) | {backend.name: opener(backend) for backend in present}
        monkeypatch.setattr(selection, "_OPENERS", openers)
        monkeypatch.setattr(selection, "_open_cpu", openers["cpu"])

    return build


@pytest.fixture(autouse=True)
def _cpu_only(machines: Callable[..., None]) -> None:
    machines(Machine("cpu"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """With an integer entropy path."""
    return write_pocket_bundle(tmp_path / "bundle", mode="integer")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A noisy picture of 90×70 pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``ptp``; gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_inspect_shows_the_mode_and_the_golden_test_on_each_backend(run: Run, bundle: Path) -> None:
    code, out, err = run("inspect", bundle)

    assert (code, err) == (0, "")
    assert "entropy   integer, identity" in out
    assert "golden    tensorrt: not tested: the bundle has no engines of the entropy path for it" in out
    assert "cuda: not tested: nothing of that kind here" in out
    assert "cpu: exact, digest" in out
    found = {one["backend"]: one for one in json.loads(run("inspect", bundle, "--json")[1])["golden"]}
    assert found["cpu"]["result"]["exact"]
    assert found["cpu"]["result"]["digest"] == found["cpu"]["result"]["expected"]
    assert found["cpu"]["result"]["digest"][:16] in out
    assert found["cuda"]["result"] is None


def test_inspect_shows_what_is_not_exact(run: Run, bundle: Path, machines: Callable[..., None]) -> None:
    machines(Machine("cpu"), Machine("cuda", wrong("step_01/mean")))

    _, out, _ = run("inspect", bundle)

    assert "cuda: NOT exact (graph 'step_01', layer 'step_01/mean', mean:" in out
    assert "cpu: exact" in out


def test_inspect_of_an_older_bundle_says_that_it_has_no_test(run: Run, tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "older", mode="integer")
    manifest = manifest_from_json((folder / "manifest.json").read_bytes())
    older = dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, golden=None))
    (folder / "manifest.json").write_bytes(json_from_manifest(older))

    assert "golden    none: whether a backend is exact cannot be seen" in run("inspect", folder)[1]
    findings = json.loads(run("doctor", folder, "--json")[1])["findings"]
    assert findings[-1]["subject"] == "entropy path"
    assert "without a golden test" in findings[-1]["detail"]


@pytest.mark.parametrize("mode", ["integer", "float"])
def test_inspect_says_who_can_decode_a_stream(run: Run, tmp_path: Path, photo: Path, mode: str) -> None:
    folder = write_pocket_bundle(tmp_path / mode, mode=mode)
    run("encode", folder, photo, "-o", tmp_path / "photo.ptp")

    _, out, _ = run("inspect", tmp_path / "photo.ptp")
    values = json.loads(run("inspect", tmp_path / "photo.ptp", "--json")[1])

    assert "with step checks" in out
    assert values["step_checks"]
    if mode == "integer":
        assert "integer entropy path: any exact machine decodes it" in out
        assert (values["arithmetic"], values["means_sealed"]) == ("", True)
    else:
        fingerprint = Machine("cpu").arithmetic.fingerprint.hex()
        assert f"float entropy path: only the arithmetic {fingerprint} decodes it" in out
        assert (values["arithmetic"], values["means_sealed"]) == (fingerprint, False)


def test_doctor_runs_the_golden_test_on_each_backend(run: Run, bundle: Path, machines: Callable[..., None]) -> None:
    machines(Machine("cpu"), Machine("cuda", wrong("hyper/0")))

    findings = {one["subject"]: one for one in json.loads(run("doctor", bundle, "--json")[1])["findings"]}

    assert findings["integer entropy path on cpu"]["status"] == "ok"
    assert findings["integer entropy path on cpu"]["detail"].startswith("exact, digest")
    assert findings["integer entropy path on cuda"]["status"] == "note", "the CPU takes its place"
    assert "NOT exact (graph 'hyper', layer 'hyper/0'" in findings["integer entropy path on cuda"]["detail"]
    assert findings["integer entropy path on tensorrt"]["status"] == "note"
    assert findings["bundle"]["status"] == "ok"
    assert "entropy path on the CPU: the machine cuda does not compute" in findings["bundle"]["detail"]


def test_doctor_fails_where_the_backend_was_asked_for(run: Run, bundle: Path, machines: Callable[..., None]) -> None:
    machines(Machine("cpu"), Machine("cuda", wrong("hyper/0")))

    code, out, _ = run("doctor", bundle, "--backend", "cuda", "--json")

    findings = {one["subject"]: one for one in json.loads(out)["findings"]}
    assert code == 1
    assert findings["integer entropy path on cuda"]["status"] == "fail"
    assert findings["bundle"]["status"] == "fail"
    code, out, _ = run("doctor", bundle, "--backend", "cuda", "--inexact", "cpu", "--json")
    assert {one["subject"]: one for one in json.loads(out)["findings"]}["bundle"]["status"] == "ok"


def test_doctor_says_what_float_streams_depend_on(run: Run, tmp_path: Path) -> None:
    folder = write_pocket_bundle(tmp_path / "float")

    found = json.loads(run("doctor", folder, "--json")[1])["findings"][-1]

    assert (found["subject"], found["status"]) == ("entropy path", "note")
    assert Machine("cpu").arithmetic.sentence() in found["detail"]


def test_an_inexact_backend_is_replaced_with_one_warning(
    run: Run, bundle: Path, photo: Path, tmp_path: Path, machines: Callable[..., None]
) -> None:
    run("encode", bundle, photo, "-o", tmp_path / "cpu.ptp")
    machines(Machine("cpu"), Machine("cuda", wrong("step_02/0")))

    code, out, err = run("encode", bundle, photo, "-o", tmp_path / "cuda.ptp", "--json")

    assert code == 0
    assert len(err.strip().splitlines()) == 1
    assert "the machine cuda does not compute the integer entropy path of this bundle exactly" in err
    values = json.loads(out)
    assert values["backend"]["provider"] == "the machine cuda"
    assert values["backend"]["entropy_provider"] == values["golden"]["provider"] == "the machine cpu"
    assert (tmp_path / "cuda.ptp").read_bytes() == (tmp_path / "cpu.ptp").read_bytes()


@pytest.mark.parametrize("command", ["encode", "infer", "decode"])
def test_an_inexact_backend_asked_for_by_name_is_refused(
    run: Run, bundle: Path, photo: Path, tmp_path: Path, machines: Callable[..., None], command: str
) -> None:
    run("encode", bundle, photo, "-o", tmp_path / "cpu.ptp")
    machines(Machine("cpu"), Machine("cuda", wrong("step_02/0")))
    source = tmp_path / "cpu.ptp" if command == "decode" else photo

    code, _, err = run(command, bundle, source, "-o", tmp_path / "out", "--backend", "cuda")
    assert code == 6
    assert "graph 'step_02', layer 'step_02/0'" in err
    assert "--inexact cpu" in err
    assert not (tmp_path / "out").exists()

    assert run(command, bundle, source, "-o", tmp_path / "out", "--backend", "cuda", "--inexact", "cpu")[0] == 0


@pytest.mark.parametrize("command", ["encode", "infer"])
def test_step_checks_can_be_left_out(run: Run, bundle: Path, photo: Path, tmp_path: Path, command: str) -> None:
    def coded(*options: str) -> bytes:
        assert run(command, bundle, photo, "-o", tmp_path / "out", *options)[0] == 0
        return (tmp_path / "out" / "photo.ptp" if command == "infer" else tmp_path / "out").read_bytes()

    assert read_header(coded()).step_checks
    assert not read_header(coded("--no-step-checks")).step_checks


def test_a_float_stream_from_elsewhere_is_refused_unless_any_is_wanted(
    run: Run, photo: Path, tmp_path: Path, machines: Callable[..., None]
) -> None:
    folder = write_pocket_bundle(tmp_path / "float")
    machines(Machine("cpu", threads=8))
    run("encode", folder, photo, "-o", tmp_path / "photo.ptp")
    machines(Machine("cpu", threads=2))

    code, _, err = run("decode", folder, tmp_path / "photo.ptp", "-o", tmp_path / "mask.png")
    assert code == 4
    assert "threads 8 instead of 2" in err
    assert not (tmp_path / "mask.png").exists()

    code, _, err = run("decode", folder, tmp_path / "photo.ptp", "-o", tmp_path / "mask.png", "--float-streams", "any")
    assert (code, err) == (0, "")


def test_a_stream_that_an_inexact_machine_wrote_names_its_step(
    run: Run, bundle: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: Callable[..., None]
) -> None:
    machines(Machine("cpu", wrong("step_01/mean")))
    with monkeypatch.context() as patch:
        patch.setattr(gate, "read_golden", lambda _: None)
        run("encode", bundle, photo, "-o", tmp_path / "photo.ptp")
    machines(Machine("cpu"))

    code, _, err = run("decode", bundle, tmp_path / "photo.ptp", "-o", tmp_path / "mask.png")

    assert code == 4
    assert "in step 2" in err
    assert "(graph 'step_01')" in err
    assert "golden test passed, digest" in err
