"""TensorRT for RTX engines. The only file that imports tensorrt_rtx.

Unseen on a GPU so far; see :mod:`ptp_runtime.backends.engine_graph`.
"""

from __future__ import annotations

import tensorrt_rtx

from ptp_runtime.backends.engine_backend import EngineBackend


def open_backend() -> EngineBackend:
    """The backend on the first device.

    Raises:
        BackendNotAvailableError: no driver, no device, or the library does not start on it.
    """
    return EngineBackend("tensorrt-rtx", tensorrt_rtx)
