"""The results as one page that needs nothing else: curves, pictures and tables."""

from __future__ import annotations

from ptp_export.evaluation.page.document import page_of

__all__ = ["page_of"]
