"""TensorRT or TensorRT for RTX, started on the device: engines from plans, with a reason where there is none.

Unseen on a GPU so far; see :mod:`ptp_runtime.backends.engine_graph`.
"""

from __future__ import annotations

import re
from typing import Any

from ptp_runtime.backends.cuda_driver import Device
from ptp_runtime.bundle import Bundle
from ptp_runtime.engines.diagnosis import EngineHost, not_listed, rebuild_hint, why_not
from ptp_runtime.engines.proof import ProofMemory, proof_from_inspection, require_proof
from ptp_runtime.errors import BackendNotAvailableError, EngineError
from ptp_runtime.manifest import EngineEntry, GraphEntry

_CAPABILITY = re.compile(r"SM(\d+)(\d)")


class EngineLibrary:
    """The library's runtime on one device.

    Args:
        target: ``tensorrt`` or ``tensorrt-rtx``.
        module: the library.
        device: where engines are loaded.
        memory: of proofs.

    Raises:
        BackendNotAvailableError: the library does not start.
    """

    def __init__(self, target: str, module: Any, device: Device, memory: ProofMemory) -> None:
        self.module = module
        self.device = device
        self._memory = memory
        # The logger must outlive the runtime.
        self._logger = _listening_logger(module)
        self._runtime = module.Runtime(self._logger)
        if self._runtime is None:
            raise BackendNotAvailableError(
                f"{target} does not start", hint="check the driver's version against the library's with `ptp doctor`"
            )
        driver = device.driver
        self.host = EngineHost(
            module.__version__, driver.capability(0), driver.device_name(0), supported_capabilities(module)
        )

    def load(self, bundle: Bundle, entry: EngineEntry, graph: GraphEntry) -> tuple[Any, str]:
        """An engine that computes in what was asked, and the sentence that says how well that is known.

        Raises:
            EngineError: it does not load on this device and version, or (EnginePrecisionError) computes in something
                else.
            AlteredFileError: its file changed since the bundle was opened.
        """
        plan = bundle.read(entry)
        problem = why_not(entry, plan, len(plan), self.host)
        if problem is not None:
            raise problem
        heard: list[str] = self._logger.errors
        heard.clear()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            unlisted = not_listed(entry, self.host, heard[0] if heard else "")
            if unlisted is not None:
                raise unlisted
            raise EngineError(
                f"the engine {entry.file} does not load here",
                expected=f"{entry.target} {entry.built_with} and the device it was built for",
                got=heard[0] if heard else f"{entry.target} {self.module.__version__}, which gives no reason",
                hint=rebuild_hint(str(bundle.path)),
            )
        if entry.stripped:
            self._refit(engine, bundle.read(graph), entry)
        return engine, self._prove(engine, entry)

    def _refit(self, engine: Any, model: bytes, entry: EngineEntry) -> None:
        """Give an engine without weights those of its graph's file."""
        refitter = self.module.Refitter(engine, self._logger)
        parser = self.module.OnnxParserRefitter(refitter, self._logger)
        if not parser.refit_from_bytes(model) or refitter.get_missing_weights() or not refitter.refit_cuda_engine():
            missing = list(refitter.get_missing_weights())
            raise EngineError(
                f"the engine {entry.file} does not take the weights of its graph",
                expected="every weight in the graph's file",
                got=f"{len(missing)} missing, such as {missing[0]}" if missing else "a refusal",
                hint=f"{rebuild_hint()}, which builds them with their weights",
            )

    def _prove(self, engine: Any, entry: EngineEntry) -> str:
        if not entry.asked:
            return "nothing was asked of its precision"
        library = f"{entry.target} {self.module.__version__}"
        proof = self._memory.recall(entry, self.host.device, library)
        if proof is None:
            inspector = engine.create_engine_inspector()
            text = inspector.get_engine_information(self.module.LayerInformationFormat.JSON)
            proof = proof_from_inspection(entry.asked, text)
            self._memory.remember(entry, self.host.device, library, proof)
        require_proof(entry, proof)
        return proof.sentence()


def supported_capabilities(module: Any) -> tuple[str, ...]:
    """The compute capabilities that a library lists, lowest first; empty where it has no such list.

    Args:
        module: the library; TensorRT for RTX has the enumeration ``ComputeCapability``.
    """
    names = [name for name in dir(getattr(module, "ComputeCapability", object)) if _CAPABILITY.fullmatch(name)]
    found = [tuple(int(part) for part in match.groups()) for name in names if (match := _CAPABILITY.fullmatch(name))]
    return tuple(f"{major}.{minor}" for major, minor in sorted(found))


def _listening_logger(module: Any) -> Any:
    """A logger that keeps the library's errors instead of printing them, in a list ``errors``."""
    base: Any = module.ILogger

    class Listener(base):
        """Keeps what went wrong."""

        def __init__(self) -> None:
            base.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Called by the library for each line."""
            if severity in (base.INTERNAL_ERROR, base.ERROR):
                self.errors.append(message.strip().partition("\n")[0][:300])

    return Listener()
