"""The integer path's definition as a backend: NumPy in int64, from the ONNX files alone. Exact and slow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_calibration.integer_path import IntegerOracle, IntegerPathError
from ptp_export.interop.configurations.configuration import Arrays, Configuration, EntropyFiles, OpenedGraphs
from ptp_runtime.errors import EngineError

LARGEST_ITEM = 20_000
"""Symbols of the largest item that the oracle codes: about ten thousand symbols a second."""

_DTYPES = {"index": np.uint8, "mean": np.int16}


def oracle_configuration() -> Configuration:
    """The numpy oracle."""
    return Configuration("numpy oracle", open_oracle, LARGEST_ITEM, integer_only=True)


def open_oracle(files: EntropyFiles) -> OpenedGraphs:
    """Read the graphs as integer programs.

    Raises:
        EngineError: they are no integer graphs.
    """
    try:
        oracle = IntegerOracle(files.models)
    except IntegerPathError as error:
        raise EngineError("the graphs are no integer entropy path", got=str(error)) from error
    graphs = {name: _OracleRun(oracle, name) for name in files.models}
    return OpenedGraphs(f"NumPy {np.__version__}, int64", ("numpy", np.__version__), graphs)


class _OracleRun:
    """One graph as the runtime drives it; what is handed from graph to graph stays int64."""

    def __init__(self, oracle: IntegerOracle, name: str) -> None:
        self._oracle, self._name = oracle, name

    @property
    def provider(self) -> str:
        """See :class:`~ptp_runtime.backends.Graph`."""
        return "NumPy int64"

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See :class:`~ptp_runtime.backends.Graph`."""
        whole = {name: array.astype(np.int64, copy=False) for name, array in inputs.items()}
        outputs = self._oracle.run(self._name, whole)
        return {name: array.astype(_DTYPES.get(name, np.int64), copy=False) for name, array in outputs.items()}

    def close(self) -> None:
        """See :class:`~ptp_runtime.backends.Graph`."""
