"""What Triton's Python backend runs. It lives only inside Triton, whose own ``triton_python_backend_utils`` it needs.

Source: the Python backend's documentation: ``TritonPythonModel`` with ``initialize``, ``execute``, ``finalize``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from ptp_runtime.backends import Arrays, Backend
from ptp_runtime.backends.selection import open_backend
from ptp_runtime.batches import run_batch
from ptp_runtime.errors import EngineError, PtpError, RequestError
from ptp_runtime.service.serve.limits import Limits
from ptp_runtime.service.serve.model import ServedModel
from ptp_runtime.service.serve.outputs import Result
from ptp_runtime.service.serve.requests import Request
from ptp_runtime.service.serve.statuses import sentence_of, status_of
from ptp_runtime.service.serve.tensors import Tensor
from ptp_runtime.service.serve.work import PixelBudget
from ptp_runtime.service.triton.graph_models import GraphModels
from ptp_runtime.service.triton.repository import graph_model
from ptp_runtime.shared_session import SharedSession

_log = logging.getLogger(__name__)

_CODES = {
    "INVALID_ARGUMENT": "INVALID_ARG",
    "NOT_FOUND": "NOT_FOUND",
    "RESOURCE_EXHAUSTED": "INVALID_ARG",
    "UNAVAILABLE": "UNAVAILABLE",
    "DEADLINE_EXCEEDED": "CANCELLED",
}


class TritonPythonModel:
    """One operation of one task; see :mod:`ptp_runtime.service.triton.repository` for its parameters."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle that lies beside the model."""
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"]) / args["model_version"] / "bundle"
        task = given["task"]
        backend: str | Backend = "auto"
        if "graphs" in given:
            prefix = given["graphs"]
            backend = GraphModels(_ask, lambda entry: prefix + graph_model(entry, task), open_backend("cpu", None))
        # Models are asked only from the thread that answers a request: one photo at a time, on all cores.
        profile = "latency" if "graphs" in given else "throughput"
        self._sessions = SharedSession.open(folder, backend, tasks=[task], trust=given.get("trust"), profile=profile)
        self._model = ServedModel(args["model_name"], given["operation"], self._sessions, task)
        self._limits = Limits()
        self._budget = PixelBudget(self._limits.pixels)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Close the session."""
        self._sessions.close()

    def _answer(self, request: Any) -> Any:
        try:
            plan = self._model.plan(_request(request, self._model), self._limits, self._budget)
            workers = self._model.session.speed.workers
            results = [done for done in run_batch(lambda job: job(), plan.jobs, workers) if isinstance(done, Result)]
            response = plan.answer(results)
            return pb_utils.InferenceResponse([_to_triton(tensor) for tensor in response.outputs])
        except Exception as error:  # noqa: BLE001 - an exception would fail every request of the batch
            if not isinstance(error, PtpError):
                _log.exception("a request failed")
            code = getattr(pb_utils.TritonError, _CODES.get(status_of(error)[1], "INTERNAL"))
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(sentence_of(error), code))


def _request(request: Any, model: ServedModel) -> Request:
    inputs = {}
    for spec in model.inputs:
        tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
        if tensor is not None:
            inputs[spec.name] = _from_triton(spec.name, spec.datatype, tensor.as_numpy())
    text = request.parameters()
    parameters = json.loads(text) if text else {}
    if not isinstance(parameters, dict):
        raise RequestError("the request's parameters are no object", got=type(parameters).__name__)
    wanted = set(request.requested_output_names())
    # Triton names every output where the client named none: PNG files beside masks are then not meant.
    specs = model.outputs.specs
    names = () if wanted == {spec.name for spec in specs} else tuple(s.name for s in specs if s.name in wanted)
    return Request(inputs, parameters, names, request.request_id())


def _from_triton(name: str, datatype: str, array: npt.NDArray[Any]) -> Tensor:
    if datatype == "BYTES":
        return Tensor(name, datatype, array.shape, [bytes(element) for element in array.ravel()])
    return Tensor(name, datatype, array.shape, array)


def _to_triton(tensor: Tensor) -> Any:
    if isinstance(tensor.values, list):
        return pb_utils.Tensor(tensor.name, np.array(tensor.values, object))
    return pb_utils.Tensor(tensor.name, tensor.values)


def _ask(model: str, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    given = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
    request = pb_utils.InferenceRequest(model_name=model, requested_output_names=list(outputs), inputs=given)
    response = request.exec()
    if response.has_error():
        raise EngineError(f"the model {model} failed", got=response.error().message(), hint="see Triton's log")
    found = {}
    for name in outputs:
        tensor = pb_utils.get_output_tensor_by_name(response, name)
        if not tensor.is_cpu():
            raise EngineError(
                f"the model {model} left its output on the GPU",
                expected="CPU tensors",
                hint='set parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "yes" } }',
            )
        found[name] = tensor.as_numpy()
    return found
