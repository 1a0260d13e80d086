"""The part that the two engine backends share: which engine stands for which graph."""

from __future__ import annotations

from typing import Any

from ptp_runtime.arithmetic import Arithmetic
from ptp_runtime.backends.cuda_driver import Device, Driver
from ptp_runtime.backends.engine_graph import EngineGraph
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, EngineError
from ptp_runtime.manifest import GraphEntry


class EngineBackend:
    """Runs the bundle's compiled engines.

    Args:
        target: ``tensorrt`` or ``tensorrt-rtx``; the target's engines are used.
        library: the module.
        driver: the CUDA driver; opened if None.

    Raises:
        BackendNotAvailableError: no driver, no device, or the library does not start on it.
    """

    def __init__(self, target: str, library: Any, driver: Driver | None = None) -> None:
        self._target = target
        self._library = library
        self._device = Device(Driver() if driver is None else driver)
        # The logger must outlive the runtime.
        self._logger = library.Logger(library.Logger.ERROR)
        self._runtime = library.Runtime(self._logger)
        if self._runtime is None:
            raise BackendNotAvailableError(
                f"{target} does not start", hint="check the driver's version against the library's with `ptp doctor`"
            )

    @property
    def name(self) -> str:
        """The target."""
        return self._target

    @property
    def provider(self) -> str:
        """For people: library, version, device."""
        return f"{self._target} {self._library.__version__} on {self._device.driver.device_name(0)}"

    @property
    def arithmetic(self) -> Arithmetic:
        """Library and device; two builds of one engine need not agree, which no fingerprint can say."""
        return Arithmetic(
            self._target, f"{self._target} {self._library.__version__}", self._device.driver.device_name(0)
        )

    def load(self, bundle: Bundle, graph: GraphEntry) -> EngineGraph:
        """See :class:`~ptp_runtime.backends.protocol.Backend`."""
        entry = bundle.engine(graph.name, self._target)
        if entry is None:
            raise EngineError(
                f"the bundle has no {self._target} engine for the graph {graph.name!r}",
                hint=f"export it with --target {self._target}",
            )
        return EngineGraph(self._library, self._runtime, bundle.read(entry), entry, graph, self._device)
