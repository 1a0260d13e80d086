"""Each engine of a bundle on this machine: loaded where that can be tried, and otherwise reasoned about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from ptp_runtime.backends.cuda_driver import Driver
from ptp_runtime.backends.protocol import Backend
from ptp_runtime.backends.selection import open_backend
from ptp_runtime.engines.diagnosis import LIBRARY_NAMES, EngineHost, rebuild_hint, why_not
from ptp_runtime.engines.plan_header import HEADER_BYTES
from ptp_runtime.engines.repair import DamagedBundle
from ptp_runtime.errors import BackendError, BackendNotAvailableError, DamagedEngineError, PtpError
from ptp_runtime.manifest import EngineEntry

DISTRIBUTIONS = {
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
}
"""Target → the distributions that bring its library."""


@dataclass(frozen=True)
class EngineState:
    """One engine.

    Attributes:
        entry: in the manifest.
        problem: why it does not load here; None where it does.
        proof: what is known of its precision on this device; empty where it was not loaded.
    """

    entry: EngineEntry
    problem: PtpError | None
    proof: str = ""

    @property
    def own_fault(self) -> bool:
        """Whether the problem is the engine's own, and not that the machine lacks a device or a library."""
        return self.problem is not None and not isinstance(self.problem, BackendNotAvailableError)


def engine_states(damaged: DamagedBundle, target: str) -> tuple[EngineState, ...]:
    """The state of every engine of a target, in the manifest's order.

    What is wrong with an engine itself comes first: a machine without a GPU can say that an engine is damaged, or of
    another version.
    """
    entries = [engine for engine in damaged.bundle.manifest.engines if engine.target == target]
    host, absent = _host(target)
    states = [_from_outside(damaged, entry, host) for entry in entries]
    if absent is not None:
        return tuple(EngineState(state.entry, state.problem or absent) for state in states)
    return _loaded(damaged, states, target)


def _host(target: str) -> tuple[EngineHost, BackendNotAvailableError | None]:
    """The library and the device, and what is missing of the two."""
    library, version = LIBRARY_NAMES[target], _installed(target)
    if not version:
        hint = "install it as the README says, or nothing: the CPU needs none"
        return EngineHost("", "", ""), BackendNotAvailableError(f"{library} is not installed", hint=hint)
    try:
        driver = Driver()
        if driver.device_count() == 0:
            raise BackendNotAvailableError("the NVIDIA driver finds no device")
        return EngineHost(version, driver.capability(0), driver.device_name(0)), None
    except BackendError as error:
        hint = "nothing is to be done: they wait for a machine with a GPU"
        return EngineHost(version, "", ""), BackendNotAvailableError(error.message, hint=hint)


def _installed(target: str) -> str:
    """The version of a target's library; empty where it is not installed."""
    for name in DISTRIBUTIONS[target]:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _from_outside(damaged: DamagedBundle, entry: EngineEntry, host: EngineHost) -> EngineState:
    """What the file and the manifest say."""
    broken = damaged.broken.get(entry.file)
    if broken is not None:
        return EngineState(entry, DamagedEngineError(broken.message, expected=broken.expected, got=broken.got))
    path = damaged.bundle.path / entry.file
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    # Without a library its version is no reason: any may be installed.
    here = host if host.version else EngineHost(entry.built_with, "", "")
    return EngineState(entry, why_not(entry, head, path.stat().st_size, here))


def _loaded(damaged: DamagedBundle, states: Sequence[EngineState], target: str) -> tuple[EngineState, ...]:
    """Load those of which nothing is known against them."""
    try:
        backend = open_backend(target, None)
    except BackendError as error:
        return tuple(EngineState(state.entry, state.problem or error) for state in states)
    return tuple(state if state.problem else _tried(damaged, state.entry, backend) for state in states)


def _tried(damaged: DamagedBundle, entry: EngineEntry, backend: Backend) -> EngineState:
    try:
        graph = backend.load(damaged.bundle, damaged.bundle.manifest.graph(entry.graph))
    except BackendError as error:
        hint = error.hint or rebuild_hint(str(damaged.bundle.path))
        return EngineState(entry, type(error)(error.message, expected=error.expected, got=error.got, hint=hint))
    proof = str(getattr(graph, "proof", ""))
    graph.close()
    return EngineState(entry, None, proof)
