"""Where things that can be made again are kept for a user: engines that were built, proofs that were seen."""

from __future__ import annotations

from pathlib import Path


def user_cache(name: str) -> Path:
    """A folder below ``~/.cache/ptp-deploy``; it need not exist.

    Args:
        name: of the kind of things kept there.
    """
    return Path.home() / ".cache" / "ptp-deploy" / name
