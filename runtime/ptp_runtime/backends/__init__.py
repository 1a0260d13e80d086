"""Ways to execute the graphs of a bundle. Each heavy library is imported in one file here, and only when chosen."""

from ptp_runtime.backends.protocol import (
    Arrays,
    Backend,
    BackendChoice,
    DeviceArrays,
    DeviceGraph,
    DeviceTensor,
    Graph,
    LayerBackend,
    LayerTime,
    TimingBackend,
)
from ptp_runtime.backends.selection import (
    BACKEND_NAMES,
    INEXACT_POLICIES,
    LoadedGraphs,
    load_graphs,
    with_entropy_on_cpu,
)

__all__ = [
    "BACKEND_NAMES",
    "INEXACT_POLICIES",
    "Arrays",
    "Backend",
    "BackendChoice",
    "DeviceArrays",
    "DeviceGraph",
    "DeviceTensor",
    "Graph",
    "LayerBackend",
    "LayerTime",
    "LoadedGraphs",
    "TimingBackend",
    "load_graphs",
    "with_entropy_on_cpu",
]
