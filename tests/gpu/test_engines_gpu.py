"""Engines on a GPU, against ONNX Runtime on the CPU. Skipped where there is none: nobody has seen this run yet."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from ptp_runtime.backends.cuda_driver import device_names
from ptp_runtime.errors import BackendError, EngineDeviceError, InexactBackendError
from ptp_runtime.session import Session

PHOTO = np.random.default_rng(8).integers(0, 256, (120, 180, 3), np.uint8)


def _why_not() -> str:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return "tensorrt-rtx is not installed"
    try:
        return "" if device_names() else "the NVIDIA driver finds no device"
    except BackendError as error:
        return error.message


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "there is a GPU")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A bundle of golden streams, with engines for the GPU at hand."""
    from ptp_export.engines.fix import fix

    folder = tmp_path_factory.mktemp("gpu") / "bundle"
    shutil.copytree(repository / "tests/golden/streams/checkerboard/bundle", folder)
    fix(folder, ("tensorrt-rtx",), (), True, None)
    return folder


def test_engines_give_what_onnx_runtime_gives_or_say_why_they_do_not_load(bundle: Path) -> None:
    try:
        session = Session.open(bundle, backend="tensorrt-rtx", inexact="cpu", trust="any")
    except EngineDeviceError as error:
        pytest.skip(f"the library does not take this GPU: {error}")
    with session, Session.open(bundle, backend="cpu") as reference:
        ours, theirs = session.encode_detailed(PHOTO), reference.encode_detailed(PHOTO)
        assert np.allclose(ours.tensors["y"], theirs.tensors["y"], rtol=1e-3, atol=1e-2)
        # Whoever wrote a stream, both read the same out of it.
        for data in (ours.data, theirs.data):
            one, other = session.decode_detailed(data), reference.decode_detailed(data)
            for mine, yours in zip(one.latents.steps, other.latents.steps, strict=True):
                assert np.array_equal(mine.symbols, yours.symbols)
            assert np.allclose(one.tensors["h"], other.tensors["h"], rtol=1e-3, atol=1e-2)


def test_the_coder_between_the_engines_gives_the_same(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        session = Session.open(bundle, backend="tensorrt-rtx", inexact="refuse", trust="any", coder="gpu")
    except (EngineDeviceError, InexactBackendError) as error:
        pytest.skip(f"the engines are of no use on this GPU: {error}")
    with session:
        data = session.encode(PHOTO)
        wanted = session.decode_detailed(data)
        heads = []
        monkeypatch.setattr(session, "_output", lambda header, raw, original, watch: heads.append(raw))
        for _ in range(3):
            session.decode(data)
    for raw in heads:
        for name, array in raw.items():
            assert np.array_equal(array, wanted.tensors[name]), name
    assert len(heads) == 3


def test_the_engines_are_proved_on_the_device(bundle: Path) -> None:
    from ptp_runtime.doctor import OK
    from ptp_runtime.doctor.engines import engine_findings

    (found,) = engine_findings(bundle, "tensorrt-rtx")
    if "does not list the GPU" in found.detail:
        pytest.skip(found.detail)
    assert found.status == OK, found.detail
