"""Configurations in a process of their own, for instruction sets below the processor's.

A library picks its kernels once. Here is where float graphs part: an older processor adds the same products in
another order.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ptp_export.interop.configurations import worker
from ptp_export.interop.configurations.configuration import Arrays, Configuration, EntropyFiles
from ptp_export.interop.configurations.frames import receive, send
from ptp_runtime.backends import Graph
from ptp_runtime.errors import BackendNotAvailableError, EngineError


@dataclass(frozen=True)
class InstructionSet:
    """Fewer instructions than the processor has.

    Attributes:
        name: for people.
        variables: that torch's and OpenVINO's oneDNN, and torch itself, read when they are loaded.
        needs: a feature of the processor without which this would be no restriction.
    """

    name: str
    variables: Mapping[str, str]
    needs: str


INSTRUCTION_SETS = (
    InstructionSet("AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}, "avx512f"),
    InstructionSet("SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}, "avx2"),
)


def configuration_apart(name: str, library: str, settings: Any, instructions: InstructionSet) -> Configuration:
    """A configuration whose library sees fewer instructions.

    Args:
        name: see :class:`~ptp_export.interop.configurations.configuration.Configuration`.
        library: ``torch`` or ``openvino``.
        settings: its settings, a dataclass of plain values.
        instructions: what it may use.
    """
    return Configuration(name, lambda files: _Apart(files, library, asdict(settings), instructions))


class _Apart:
    """The other process, and its graphs as the runtime drives them (see ``Opened``)."""

    def __init__(
        self, files: EntropyFiles, library: str, settings: Mapping[str, Any], instructions: InstructionSet
    ) -> None:
        variables = [f"{key}={value}" for key, value in instructions.variables.items()]
        self._process = subprocess.Popen(  # noqa: S603 - our own module with our own settings
            ["/usr/bin/env", *variables, sys.executable, "-m", worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        models = {name: np.frombuffer(model.SerializeToString(), np.uint8) for name, model in files.models.items()}
        try:
            found, _ = self._ask({"library": library, "settings": dict(settings)}, models)
        except EngineError as error:
            self.close()
            raise BackendNotAvailableError(error.message, got=error.got) from error
        self.provider: str = found["provider"]
        self.identity: tuple[object, ...] = tuple(found["identity"])
        self.graphs: dict[str, Graph] = {name: _ApartGraph(self, name) for name in files.models}

    def _ask(self, message: Mapping[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        try:
            send(_pipe(self._process.stdin), message, arrays)
            reply, results = receive(_pipe(self._process.stdout))
        except (EOFError, BrokenPipeError) as error:
            raise EngineError("the process of a configuration ended", got=str(error)) from error
        if "error" in reply:
            raise EngineError(reply["error"], got=reply["got"])
        return reply, results

    def run(self, name: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One graph over there."""
        _, outputs = self._ask({"run": name}, inputs)
        return outputs

    def close(self) -> None:
        """End the process: it stops when its input is closed."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _pipe(stream: Any) -> BinaryIO:
    if stream is None:
        raise EngineError("the process of a configuration has no pipe")
    pipe: BinaryIO = stream
    return pipe


class _ApartGraph:
    """One graph of the other process."""

    def __init__(self, process: _Apart, name: str) -> None:
        self._process, self._name = process, name

    @property
    def provider(self) -> str:
        """See :class:`~ptp_runtime.backends.Graph`."""
        return self._process.provider

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.Graph`."""
        return self._process.run(self._name, inputs)

    def close(self) -> None:
        """The process is ended once, for all of its graphs."""
