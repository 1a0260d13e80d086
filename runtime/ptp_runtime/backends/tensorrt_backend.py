"""TensorRT engines. The only file that imports tensorrt.

Unseen on a GPU so far; see :mod:`ptp_runtime.backends.engine_graph`.
"""

from __future__ import annotations

import tensorrt

from ptp_runtime.backends.engine_backend import EngineBackend
from ptp_runtime.backends.engine_library import supported_capabilities


def open_backend() -> EngineBackend:
    """The backend on the first device.

    Raises:
        BackendNotAvailableError: no driver, no device, or the library does not start on it.
    """
    return EngineBackend("tensorrt", tensorrt)


def supported() -> tuple[str, ...]:
    """The compute capabilities that the library lists; empty where it has no such list."""
    return supported_capabilities(tensorrt)
