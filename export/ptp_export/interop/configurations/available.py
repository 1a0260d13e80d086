"""All configurations that the comparison knows, whether this machine has them or not: what is missing is said."""

from __future__ import annotations

from collections.abc import Sequence

from ptp_export.engines.targets import TENSORRT, TENSORRT_RTX, Target
from ptp_export.interop.configurations.apart import INSTRUCTION_SETS, configuration_apart
from ptp_export.interop.configurations.configuration import Configuration, EntropyFiles, OpenedGraphs
from ptp_export.interop.configurations.engine_paths import engine_configuration
from ptp_export.interop.configurations.onnxruntime_paths import (
    LEVELS,
    OnnxRuntimeSettings,
    onnxruntime_configuration,
)
from ptp_export.interop.configurations.oracle_paths import oracle_configuration
from ptp_export.interop.configurations.torch_paths import TorchSettings, torch_configuration
from ptp_runtime.arithmetic import cpu_flags
from ptp_runtime.errors import BackendNotAvailableError, UsageError

THREADS = (1, 2)
#: Builders whose engines are made even where they cannot run.
BUILDERS: tuple[Target, ...] = (TENSORRT_RTX, TENSORRT)


def all_configurations() -> tuple[Configuration, ...]:
    """In the order of the table. The first one is the encoder that streams are attributed to when several agree."""
    return (*_onnxruntime(), *_torch(), *_openvino(), oracle_configuration(), *_devices())


def _onnxruntime() -> list[Configuration]:
    grid = [(level, threads) for level in reversed(LEVELS) for threads in reversed(THREADS)]
    return [
        *(
            onnxruntime_configuration(
                f"onnxruntime, level {level}, {_threads(threads)}", OnnxRuntimeSettings(level=level, threads=threads)
            )
            for level, threads in grid
        ),
        onnxruntime_configuration("onnxruntime, batch of 2", OnnxRuntimeSettings(batch=2)),
    ]


def _torch() -> list[Configuration]:
    return [
        *(torch_configuration(f"torch eager, {_threads(n)}", TorchSettings(threads=n)) for n in THREADS),
        torch_configuration("torch eager, channels last", TorchSettings(channels_last=True)),
        torch_configuration("torch eager, batch of 2", TorchSettings(batch=2)),
        torch_configuration("torch compiled", TorchSettings(compiled=True)),
        *(
            configuration_apart(f"torch eager, {instructions.name}", "torch", TorchSettings(), instructions)
            for instructions in INSTRUCTION_SETS
            if instructions.needs in cpu_flags()
        ),
    ]


def _openvino() -> list[Configuration]:
    try:
        from ptp_export.interop.configurations.openvino_paths import OpenVinoSettings, openvino_configuration
    except ModuleNotFoundError:
        return [_missing("openvino", "OpenVINO is not installed", "pip install 'ptp-deploy[interop]'")]
    return [
        *(openvino_configuration(f"openvino, {_threads(n)}", OpenVinoSettings(threads=n)) for n in THREADS),
        openvino_configuration("openvino, batch of 2", OpenVinoSettings(batch=2)),
        *(
            configuration_apart(f"openvino, {instructions.name}", "openvino", OpenVinoSettings(), instructions)
            for instructions in INSTRUCTION_SETS
            if instructions.needs in cpu_flags()
        ),
    ]


def _devices() -> list[Configuration]:
    return [
        torch_configuration("torch CUDA", TorchSettings(device="cuda")),
        torch_configuration("torch CUDA, TF32", TorchSettings(device="cuda", tf32=True)),
        torch_configuration("torch CUDA, cuDNN autotune", TorchSettings(device="cuda", autotune=True)),
        onnxruntime_configuration("onnxruntime CUDA", OnnxRuntimeSettings(device="cuda")),
        onnxruntime_configuration("onnxruntime CUDA, TF32", OnnxRuntimeSettings(device="cuda", tf32=True)),
        *(engine_configuration(target.name) for target in BUILDERS),
    ]


def _missing(name: str, reason: str, hint: str) -> Configuration:
    def refuse(_files: EntropyFiles) -> OpenedGraphs:
        raise BackendNotAvailableError(reason, hint=hint)

    return Configuration(name, refuse)


def chosen(configurations: Sequence[Configuration], only: Sequence[str]) -> tuple[Configuration, ...]:
    """Those whose name contains one of the texts; all of them where there is no text.

    Raises:
        UsageError: a text is in no name, so that a typing mistake does not compare less than was asked for.
    """
    for text in only:
        if not any(text in one.name for one in configurations):
            raise UsageError(
                f"there is no configuration like {text!r}",
                expected=", ".join(one.name for one in configurations),
                got=f"--only {text!r}",
                hint="give a part of one of these names",
            )
    return tuple(one for one in configurations if not only or any(text in one.name for text in only))


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"
