"""One look at the sensors of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MachineReading:
    """What Linux shows at one moment; whatever a machine (or a virtual one) does not show is None or empty.

    Attributes:
        clocks_mhz: of the cores that this process may use.
        clock_limit_mhz: the highest clock that the fastest of them can take.
        temperatures_c: by sensor, degrees Celsius.
        throttle_events: how often the cores lowered their clock because of heat, since the machine started.
        quota_throttled_ms: how long this container was held back by its quota of processor time, since it started.
        steal_ms: how long a hypervisor gave the cores to others, since the machine started.
        waiting_ms: how long some task waited for a processor (pressure stall information), since the machine started.
        load: average number of runnable tasks over the last minute.
    """

    clocks_mhz: tuple[float, ...] = ()
    clock_limit_mhz: float | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    throttle_events: int | None = None
    quota_throttled_ms: float | None = None
    steal_ms: float | None = None
    waiting_ms: float | None = None
    load: float | None = None

    @property
    def clock_mhz(self) -> float | None:
        """The slowest core's: it is the one that the others wait for."""
        return min(self.clocks_mhz) if self.clocks_mhz else None

    @property
    def temperature_c(self) -> float | None:
        """The hottest sensor's."""
        return max(self.temperatures_c.values()) if self.temperatures_c else None
