"""Why an engine will not load on a machine, in a sentence: from its entry, its plan's header and what is installed.

TensorRT itself gives no engine and a line in its log. What can be known beforehand is known here, so that the sentence
is there before the library is asked, and where there is no device to ask it on.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptp_runtime.engines.plan_header import plan_header
from ptp_runtime.errors import DamagedEngineError, EngineDeviceError, EngineError, EngineVersionError
from ptp_runtime.manifest import EngineEntry

LIBRARY_NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}
"""Target → what people call its library."""

_AMPERE = (8, 0)


@dataclass(frozen=True)
class EngineHost:
    """What an engine would run on.

    Attributes:
        version: of the installed library.
        capability: compute capability of the device, such as ``8.9``; empty where there is none.
        device: its name.
        supported: the capabilities that the library takes; empty where it does not say.
    """

    version: str
    capability: str
    device: str
    supported: tuple[str, ...] = ()


def rebuild_hint(bundle: str = "BUNDLE") -> str:
    """What to do about an engine that will not load."""
    return f"build the engines for this machine: ptp doctor --fix {bundle}"


def why_not(entry: EngineEntry, plan: bytes, size: int, host: EngineHost) -> EngineError | None:
    """The reason for which an engine cannot load, as the error to raise; None where nothing speaks against it.

    Args:
        entry: of the manifest.
        plan: the first bytes of the file, or all of it.
        size: of the whole file.
        host: where it is to load.
    """
    return _damage(entry, plan, size) or _other_version(entry, plan, host) or _other_device(entry, host)


def _damage(entry: EngineEntry, plan: bytes, size: int) -> EngineError | None:
    library = LIBRARY_NAMES[entry.target]
    if entry.target != "tensorrt-rtx":
        return DamagedEngineError(f"the engine {entry.file} is empty", hint=rebuild_hint()) if size == 0 else None
    header = plan_header(plan)
    if header is None:
        return DamagedEngineError(
            f"the engine {entry.file} is no plan of {library}",
            expected="a header that begins with vtrt",
            got=repr(plan[:4]),
            hint=rebuild_hint(),
        )
    if header.size != size:
        return DamagedEngineError(
            f"the engine {entry.file} is damaged",
            expected=f"{header.size} bytes, as its header says",
            got=f"{size}",
            hint=rebuild_hint(),
        )
    return None


def _other_version(entry: EngineEntry, plan: bytes, host: EngineHost) -> EngineError | None:
    header = plan_header(plan) if entry.target == "tensorrt-rtx" else None
    built_with = header.version if header is not None else entry.built_with
    built, here = _numbers(built_with), _numbers(host.version)
    if built[:3] == here[:3]:
        return None
    if "version" in entry.compatible and built[:1] == here[:1] and built <= here:
        return None
    return EngineVersionError(
        f"the engine {entry.file} was built with another version of {LIBRARY_NAMES[entry.target]}",
        expected=built_with,
        got=f"{host.version} installed here",
        hint=f"{rebuild_hint()}; or install that version",
    )


def not_listed(entry: EngineEntry, host: EngineHost, words: str) -> EngineError | None:
    """The likeliest reason for which a library gave no engine, where it does not list the GPU at hand; else None.

    Not known beforehand: a library may take more than it lists, so it is tried first.

    Args:
        entry, host: see :func:`why_not`.
        words: the library's own.
    """
    if not host.supported or host.capability in host.supported:
        return None
    library = LIBRARY_NAMES[entry.target]
    return EngineDeviceError(
        f"{library} {host.version} does not list the GPU {host.device} among those that it takes",
        expected=f"a compute capability of {', '.join(host.supported)}",
        got=f"{host.capability}, and the words: {words}" if words else host.capability,
        hint="use --backend cuda, or engines of the other TensorRT: ptp doctor --fix BUNDLE --target tensorrt",
    )


def _other_device(entry: EngineEntry, host: EngineHost) -> EngineError | None:
    if not host.capability or not entry.devices or host.capability in entry.devices:
        return None
    if "hardware" in entry.compatible and _numbers(host.capability) >= _AMPERE:
        return None
    return EngineDeviceError(
        f"the engine {entry.file} was built for another GPU",
        expected=f"a compute capability of {', '.join(entry.devices)}",
        got=f"{host.device} with {host.capability}",
        hint=rebuild_hint(),
    )


def _numbers(version: str) -> tuple[int, ...]:
    """``"10.13.0.35"`` → (10, 13, 0, 35), as far as the parts are numbers."""
    parts: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)
