"""PyTorch eager as a backend of the runtime, for the benchmarks; it lives in the exporter."""

from __future__ import annotations

from ptp_export.torch_backend import EagerBackend

__all__ = ["EagerBackend"]
