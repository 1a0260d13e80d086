"""A profile as one HTML page: plots as inline SVG, nothing from outside."""

from ptp_runtime.profiling.page.document import page_of

__all__ = ["page_of"]
