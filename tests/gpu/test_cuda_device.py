"""The device behind the kernels, against a driver that pretends: memory that is kept, and what a launch hands over."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptp_runtime.backends.cuda_driver import Device, Driver
from ptp_runtime.coder_gpu import CudaDevice, Handle, cuda_device

pytestmark = pytest.mark.runtime


def _pretend() -> Any:
    """The driver of the engines' tests: tests are no packages."""
    path = Path(__file__).parents[1] / "unit" / "pretend_gpu.py"
    spec = importlib.util.spec_from_file_location("pretend_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretend_gpu"] = module
    spec.loader.exec_module(module)
    return module.PretendDriver()


@pytest.fixture
def driver() -> Any:
    return _pretend()


@pytest.fixture
def device(driver: Any, monkeypatch: pytest.MonkeyPatch) -> CudaDevice:
    asked: list[str] = []

    def cubin(architecture: str) -> bytes:
        asked.append(architecture)
        return b"machine code"

    monkeypatch.setattr(cuda_device, "cubin_for", cubin)
    found = CudaDevice(Device(Driver(driver)))
    assert asked == ["sm_89"], "the pretended GPU's"
    return found


def test_what_goes_up_comes_down(device: CudaDevice, driver: Any) -> None:
    values = np.arange(6, dtype=np.int16)
    handle = device.upload(values)
    out = np.zeros_like(values)
    device.download(handle, out)

    assert out.tolist() == values.tolist()
    assert driver.calls[-1] == "cuStreamSynchronize"


def test_memory_is_kept_for_the_next_of_its_size_and_trimmed(device: CudaDevice, driver: Any) -> None:
    first, other = device.zeros(100), device.zeros(100)
    assert first != other
    device.free(first)

    assert device.zeros(60) not in (first, other)
    assert device.zeros(100) == first
    assert driver.calls.count("cuMemAlloc_v2") == 3
    device.free(first)
    device.free(other)
    device.trim()
    assert len(driver.memory) == 1, "what is in use stays"


def test_a_launch_hands_over_numbers_and_addresses(device: CudaDevice, driver: Any) -> None:
    seen: list[Any] = []

    def launch(function: Any, *rest: Any) -> int:
        shape, arguments = rest[:7], rest[8]
        values = ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_uint64))[0]
        number = ctypes.cast(arguments[1], ctypes.POINTER(ctypes.c_uint32))[0]
        seen.append((shape, values, number))
        return 0

    driver.cuLaunchKernel = launch
    device.launch("ptp_widen", 5, Handle(2**40 + 8), np.uint32(77))
    device.launch("ptp_widen", 6, Handle(16), np.uint32(1))

    assert seen == [((5, 1, 1, 32, 1, 1, 0), 2**40 + 8, 77), ((6, 1, 1, 32, 1, 1, 0), 16, 1)]
    assert driver.calls.count("cuModuleGetFunction") == 1
