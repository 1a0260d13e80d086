"""ONNX Runtime on the CPU: the one file of this package that imports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ptp_calibration.errors import CalibrationError


class CpuSession:
    """One graph, ready to run.

    Args:
        model: not changed.
        threads: of ONNX Runtime; 0 lets it choose.
    """

    def __init__(self, model: onnx.ModelProto, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Several sessions in turn: threads that spin in one of them would take the cores from the next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    def run(
        self, inputs: Mapping[str, NDArray[np.generic]], outputs: Sequence[str] = ()
    ) -> dict[str, NDArray[np.generic]]:
        """Outputs by name; all of them where none is named.

        Raises:
            CalibrationError: inputs that the graph does not take.
        """
        names = list(outputs or self.outputs)
        try:
            values = self._session.run(names, dict(inputs))
        except (onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, ValueError) as error:
            raise CalibrationError(f"the inputs do not fit the graph: {str(error).splitlines()[0]}") from error
        return dict(zip(names, values, strict=True))
