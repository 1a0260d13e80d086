"""One line of the doctor's report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ptp_runtime.errors import PtpError

OK, NOTE, FAIL = "ok", "note", "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        status: ``ok``; ``note``: absent or slow, and nothing needs it; ``fail``: something will not work.
        detail: what was found.
        hint: what to do; empty where nothing is to be done.
    """

    subject: str
    status: str
    detail: str
    hint: str = ""


def guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    """A check that runs code of ours: a typed error is a finding, not the end of the report."""
    return guarded_all(subject, lambda: (check(),))[0]


def guarded_all(subject: str, check: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """The same for a check with several findings."""
    try:
        return check()
    except PtpError as error:
        return (Finding(subject, FAIL, str(error), error.hint),)
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        detail = f"{type(error).__name__}: {first}"
        return (Finding(subject, FAIL, detail, "install ptp-deploy again in a new environment"),)
