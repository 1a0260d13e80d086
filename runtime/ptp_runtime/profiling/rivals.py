"""Others to measure beside: backends that other packages register under ``ptp.profile_rivals``.

An entry point of that group names a function ``(bundle, checkpoint, threads, compiled) -> Backend``. The rival runs in
the same session code with the same coder, so that only what computes the networks differs. The runtime itself knows
none: PyTorch comes with ``ptp_export``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from ptp_runtime.backends import Backend
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import MissingExtraError, UsageError

ENTRY_POINT_GROUP = "ptp.profile_rivals"


def rival_names() -> tuple[str, ...]:
    """Those that are installed here."""
    return tuple(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))


def open_rival(name: str, bundle: Bundle, *, checkpoint: str, threads: int | None, compiled: bool) -> Backend:
    """A rival's backend for a bundle.

    Args:
        name: such as ``torch``.
        bundle: whose work it shall do.
        checkpoint: ``demo``, or the directory of the weights that the bundle was exported from.
        threads: None: as many as our own session takes.
        compiled: let the rival compile its networks, if it can.

    Raises:
        MissingExtraError: what it needs is not installed.
        UsageError: what is registered under the name is no rival.
        PtpError: what the rival raises, for example about another checkpoint.
    """
    points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    if not points:
        raise MissingExtraError(
            f"there is no {name!r} to measure beside",
            expected="the extra 'export' for torch",
            got=", ".join(rival_names()) or "nothing is registered",
            hint="pip install 'ptp-deploy[export]', or leave --against out",
        )
    try:
        opener = points[0].load()
    except ImportError as error:
        raise MissingExtraError(
            f"{name!r} needs packages that are not installed",
            expected="the extra 'export'",
            got=str(error),
            hint="pip install 'ptp-deploy[export]', or leave --against out",
        ) from error
    backend = opener(bundle, checkpoint, threads, compiled)
    if not all(hasattr(backend, attribute) for attribute in ("name", "provider", "arithmetic", "load")):
        raise UsageError(f"{points[0].value} gives no backend", expected="a Backend", got=type(backend).__name__)
    chosen: Backend = backend
    return chosen
