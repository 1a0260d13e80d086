"""Sensors of Linux from files that a test wrote, and of NVML from a library that pretends."""

# ruff: noqa: N802 - the binding names its functions so

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptp_runtime.errors import BackendNotAvailableError, MissingExtraError
from ptp_runtime.sensors import LinuxSensors, MachineReading, nvml, open_nvml

pytestmark = pytest.mark.runtime


def put(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A laptop with four cores, of which the process may use two."""
    for core, clock in enumerate((1_400_000, 2_600_000, 900_000, 3_000_000)):
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{clock}\n")
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", "3200000\n")
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", f"{core + 1}\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "71500\n")
    put(tmp_path, "sys/class/thermal/thermal_zone1/type", "broken\n")
    put(tmp_path, "sys/class/thermal/thermal_zone1/temp", "-274000\n")
    put(tmp_path, "sys/class/hwmon/hwmon0/name", "k10temp\n")
    put(tmp_path, "sys/class/hwmon/hwmon0/temp1_input", "65000\n")
    put(tmp_path, "sys/class/hwmon/hwmon0/temp1_label", "Tctl\n")
    put(tmp_path, "sys/fs/cgroup/cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 12000\n")
    put(tmp_path, "proc/loadavg", "1.25 1.0 0.9 1/200 77\n")
    put(tmp_path, "proc/pressure/cpu", "some avg10=1.0 avg60=0 avg300=0 total=2500\nfull avg10=0 total=0\n")
    put(tmp_path, "proc/stat", "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 0\n")
    return tmp_path


def test_every_sensor_of_a_laptop(machine: Path) -> None:
    found = LinuxSensors(machine, cores=(0, 1)).read()

    assert found.clocks_mhz == (1400.0, 2600.0)
    assert found.clock_mhz == 1400.0
    assert found.clock_limit_mhz == 3200.0
    assert found.temperatures_c == {"x86_pkg_temp": 71.5, "k10temp Tctl": 65.0}
    assert found.temperature_c == 71.5
    assert found.throttle_events == 1 + 2
    assert found.quota_throttled_ms == 12.0
    assert found.waiting_ms == 2.5
    assert found.steal_ms is not None
    assert found.load == 1.25


def test_a_virtual_machine_shows_little(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor : 0\ncpu MHz : 2500.5\n\nprocessor : 1\ncpu MHz : 2400\n")
    put(tmp_path, "proc/loadavg", "")
    put(tmp_path, "proc/stat", "garbage\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.stat", "throttled_time 3000000\n")

    found = LinuxSensors(tmp_path, cores=(1,)).read()

    assert found == MachineReading(clocks_mhz=(2400.0,), quota_throttled_ms=3.0)
    assert found.temperature_c is None


@pytest.mark.parametrize("content", ["", "nonsense", "nan", "1e400", "12 34", "\x00\xff"])
def test_nonsense_is_no_sensor(tmp_path: Path, content: str) -> None:
    put(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", content)
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", content)
    put(tmp_path, "proc/loadavg", content)
    put(tmp_path, "proc/stat", content)

    found = LinuxSensors(tmp_path, cores=(0,)).read()

    assert found.clocks_mhz == ()
    assert dict(found.temperatures_c) == {}


def test_this_machine_can_be_read() -> None:
    assert isinstance(LinuxSensors().read(), MachineReading)


class FakeNvml:
    """What of NVIDIA's binding is used; a device without a power sensor."""

    class NVMLError(Exception):
        """As the binding's."""

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def __init__(self, name: object = "NVIDIA L4", driver: bool = True) -> None:
        self._name, self._driver, self.open = name, driver, False

    def nvmlInit(self) -> None:
        if not self._driver:
            raise self.NVMLError("Driver Not Loaded")
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"device {index}"

    def nvmlDeviceGetName(self, handle: str) -> object:
        return self._name

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(used=5 << 30, total=24 << 30)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 83

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        return 900

    def nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:
        return 2040

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return 0x20 | 0x4 | 0x1  # 1: idle, which is no reason


@pytest.mark.parametrize("name", ["NVIDIA L4", b"NVIDIA L4"])
def test_a_device(name: object) -> None:
    library = FakeNvml(name)
    sensors = open_nvml(library)
    (found,) = sensors.read()
    sensors.close()

    assert found.name == "NVIDIA L4"
    assert (found.temperature_c, found.clock_mhz, found.clock_limit_mhz) == (83.0, 900.0, 2040.0)
    assert found.memory_bytes == 5 << 30
    assert found.power_w is None
    assert found.throttled == ("power cap", "software thermal slowdown")
    assert not library.open


def test_no_driver() -> None:
    with pytest.raises(BackendNotAvailableError, match="Driver Not Loaded"):
        open_nvml(FakeNvml(driver=False))


def test_no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(nvml, "import_module", absent)
    with pytest.raises(MissingExtraError, match="ptp-deploy\\[nvml\\]"):
        open_nvml()


def test_the_real_binding_has_what_is_called() -> None:
    pynvml = pytest.importorskip("pynvml", reason="the extra nvml is not installed")
    used = [name for name in dir(FakeNvml) if name.startswith(("nvml", "NVML"))]

    assert [name for name in used if not hasattr(pynvml, name)] == []
    bits = {
        "power cap": "SwPowerCap",
        "hardware slowdown": "HwSlowdown",
        "sync boost": "SyncBoost",
        "software thermal slowdown": "SwThermalSlowdown",
        "hardware thermal slowdown": "HwThermalSlowdown",
        "hardware power brake": "HwPowerBrakeSlowdown",
    }
    assert {text: getattr(pynvml, f"nvmlClocksThrottleReason{name}") for text, name in bits.items()} == {
        text: bit for bit, text in nvml._REASONS.items()
    }
