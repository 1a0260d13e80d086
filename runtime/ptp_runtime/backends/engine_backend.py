"""The part that the two engine backends share: which engine stands for which graph."""

from __future__ import annotations

import logging
from typing import Any

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends.cuda_driver import Device, Driver
from ptp_runtime.backends.engine_graph import EngineGraph
from ptp_runtime.backends.engine_library import EngineLibrary
from ptp_runtime.bundle import Bundle
from ptp_runtime.engines.proof import ProofMemory
from ptp_runtime.errors import EngineError
from ptp_runtime.manifest import GraphEntry

_log = logging.getLogger(__name__)


class EngineBackend:
    """Runs the bundle's compiled engines.

    Args:
        target: ``tensorrt`` or ``tensorrt-rtx``; the target's engines are used.
        library: the module.
        driver: the CUDA driver; opened if None.
        memory: of the engines' precision; None: the user's.

    Attributes:
        device: where the engines run, with their stream of work.

    Raises:
        BackendNotAvailableError: no driver, no device, or the library does not start on it.
    """

    def __init__(
        self, target: str, library: Any, driver: Driver | None = None, memory: ProofMemory | None = None
    ) -> None:
        self._target = target
        self.device = Device(Driver() if driver is None else driver)
        self._library = EngineLibrary(target, library, self.device, memory or ProofMemory())

    @property
    def name(self) -> str:
        """The target."""
        return self._target

    @property
    def provider(self) -> str:
        """For people: library, version, device."""
        return f"{self._target} {self._library.host.version} on {self._library.host.device}"

    @property
    def arithmetic(self) -> Arithmetic:
        """Library and device; two builds of one engine need not agree, which no fingerprint can say."""
        host = self._library.host
        return Arithmetic(self._target, f"{self._target} {host.version}", host.device)

    def load(self, bundle: Bundle, graph: GraphEntry) -> EngineGraph:
        """See :class:`~ptp_runtime.backends.protocol.Backend`.

        The first time on a device, the engine is inspected: one that computes in something else than was asked is
        refused (:class:`~ptp_runtime.errors.EnginePrecisionError`).
        """
        entry = bundle.engine(graph.name, self._target)
        if entry is None:
            raise EngineError(
                f"the bundle has no {self._target} engine for the graph {graph.name!r}",
                hint=f"export it with --target {self._target}, or add engines with ptp doctor --fix {bundle.path}",
            )
        self.device.make_current()
        engine, sentence = self._library.load(bundle, entry, graph)
        _log.info("%s: %s", entry.file, sentence)
        return EngineGraph(self._library.module, engine, entry, graph, self.device, sentence)
