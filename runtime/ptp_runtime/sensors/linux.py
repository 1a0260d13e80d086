"""The sensors that Linux shows as files below ``/proc`` and ``/sys``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ptp_runtime.sensors.reading import MachineReading


class LinuxSensors:
    """Reads them; a file that is missing, or says nothing that can be understood, is a sensor that is not there.

    Args:
        root: where ``proc`` and ``sys`` lie; another one for tests.
        cores: numbers of the cores to look at; None: those that this process may use.
    """

    def __init__(self, root: Path = Path("/"), cores: Iterable[int] | None = None) -> None:
        self._proc, self._sys = root / "proc", root / "sys"
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        self._cores = tuple(sorted(usable if cores is None else cores))
        self._tick_ms = 1e3 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10.0

    def read(self) -> MachineReading:
        """All of them, now."""
        return MachineReading(
            clocks_mhz=self._clocks(),
            clock_limit_mhz=max(self._core_numbers("cpufreq/cpuinfo_max_freq"), default=None, key=float),
            temperatures_c=self._temperatures(),
            throttle_events=self._throttle_events(),
            quota_throttled_ms=self._quota_throttled_ms(),
            steal_ms=self._steal_ms(),
            waiting_ms=self._waiting_ms(),
            load=_number((_text(self._proc / "loadavg").split() or [""])[0]),
        )

    def _core_numbers(self, file: str, scale: float = 1e-3) -> list[float]:
        paths = (self._sys / f"devices/system/cpu/cpu{core}/{file}" for core in self._cores)
        return [value * scale for path in paths if (value := _number(_text(path))) is not None]

    def _clocks(self) -> tuple[float, ...]:
        """From the governor; a virtual machine often has none, and only ``cpuinfo`` tells."""
        governed = self._core_numbers("cpufreq/scaling_cur_freq")
        if governed:
            return tuple(governed)
        found, core = [], -1
        for line in _text(self._proc / "cpuinfo").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "processor":
                core = int(_number(value) or 0)
            elif key.strip() == "cpu MHz" and core in self._cores and (clock := _number(value)) is not None:
                found.append(clock)
        return tuple(found)

    def _temperatures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for zone in sorted((self._sys / "class/thermal").glob("thermal_zone*")):
            _add(found, _text(zone / "type").strip() or zone.name, _number(_text(zone / "temp")))
        for chip in sorted((self._sys / "class/hwmon").glob("hwmon*")):
            for file in sorted(chip.glob("temp*_input")):
                label = _text(file.with_name(file.name.replace("_input", "_label"))).strip()
                name = " ".join(filter(None, (_text(chip / "name").strip(), label))) or chip.name
                _add(found, name, _number(_text(file)))
        return found

    def _throttle_events(self) -> int | None:
        counts = self._core_numbers("thermal_throttle/core_throttle_count", scale=1.0)
        return int(sum(counts)) if counts else None

    def _quota_throttled_ms(self) -> float | None:
        """Of the control group this process sees as its root, which is what a container gets."""
        for file, key, scale in (
            ("fs/cgroup/cpu.stat", "throttled_usec", 1e-3),
            ("fs/cgroup/cpu/cpu.stat", "throttled_time", 1e-6),
        ):
            for line in _text(self._sys / file).splitlines():
                name, _, value = line.partition(" ")
                if name == key and (number := _number(value)) is not None:
                    return number * scale
        return None

    def _steal_ms(self) -> float | None:
        fields = (_text(self._proc / "stat").splitlines() or [""])[0].split()
        ticks = _number(fields[8]) if len(fields) > 8 and fields[0] == "cpu" else None
        return None if ticks is None else ticks * self._tick_ms

    def _waiting_ms(self) -> float | None:
        for line in _text(self._proc / "pressure/cpu").splitlines():
            kind, *fields = line.split()
            totals = [field.partition("=")[2] for field in fields if field.startswith("total=")]
            if kind == "some" and totals and (microseconds := _number(totals[0])) is not None:
                return microseconds * 1e-3
        return None


def _add(found: dict[str, float], name: str, millidegrees: float | None) -> None:
    """A sensor under its name, numbered where the name is taken; impossible values are broken sensors."""
    if millidegrees is None or not -40e3 <= millidegrees <= 200e3:
        return
    number = 2
    unique = name
    while unique in found:
        unique, number = f"{name} {number}", number + 1
    found[unique] = millidegrees * 1e-3


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e18 else None
