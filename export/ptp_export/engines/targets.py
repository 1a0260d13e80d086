"""The builders an export can ask for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass

from ptp_runtime.errors import MissingExtraError, UsageError


@dataclass(frozen=True)
class Target:
    """One builder.

    Attributes:
        name: as in ``--target`` and the manifest.
        module: what to import.
        extra: the optional dependency that brings it.
        install: how to install it, for the reader of an error.
        least: lowest version with the strongly typed path as used here.
        hardware_compatibility: it can build one engine for several generations of GPUs.
        timing_cache: it measures kernels, and can keep the measurements.
        for_its_device: without a list of compute capabilities, an engine is for the GPU of the building machine.
    """

    name: str
    module: str
    extra: str
    install: str
    least: tuple[int, ...]
    hardware_compatibility: bool = False
    timing_cache: bool = False
    for_its_device: bool = False

    def version(self) -> str:
        """Version of the installed builder; nothing is imported.

        Raises:
            MissingExtraError: not installed, or too old.
        """
        if importlib.util.find_spec(self.module) is None:
            raise MissingExtraError(
                f"the target {self.name} needs the package {self.module}, which is not installed", hint=self.install
            )
        version = importlib.metadata.version(self.module)
        if tuple(int(part) for part in version.split(".")[: len(self.least)] if part.isdigit()) < self.least:
            raise MissingExtraError(
                f"the package {self.module} is too old for the target {self.name}",
                expected=f"{'.'.join(map(str, self.least))} or newer",
                got=version,
                hint=self.install,
            )
        return version


TENSORRT_RTX = Target(
    name="tensorrt-rtx",
    module="tensorrt_rtx",
    extra="tensorrt-rtx",
    install="pip install wheel setuptools, then pip install --no-build-isolation 'ptp-deploy[tensorrt-rtx]'",
    least=(1, 0),
)
TENSORRT = Target(
    name="tensorrt",
    module="tensorrt",
    extra="tensorrt",
    install="pip install --extra-index-url https://pypi.nvidia.com 'ptp-deploy[tensorrt]'",
    # 10.12 is the first whose weakly typed flags can all be left out; 11 has none any more.
    least=(10, 12),
    hardware_compatibility=True,
    timing_cache=True,
    for_its_device=True,
)
ENGINE_TARGETS = {target.name: target for target in (TENSORRT_RTX, TENSORRT)}
#: What ``--target`` takes; ``onnx`` is always written.
TARGET_NAMES = ("onnx", *ENGINE_TARGETS)


def engine_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: unknown.
    """
    if name not in ENGINE_TARGETS:
        raise UsageError("unknown target", expected=", ".join(TARGET_NAMES), got=name)
    return ENGINE_TARGETS[name]
