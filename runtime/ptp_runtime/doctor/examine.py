"""The whole examination."""

from __future__ import annotations

import os

from ptp_runtime.doctor.chain import bundle_runs, entropy_path, self_test
from ptp_runtime.doctor.engines import engine_findings
from ptp_runtime.doctor.finding import Finding, guarded, guarded_all
from ptp_runtime.doctor.libraries import library_findings
from ptp_runtime.doctor.nvidia import nvidia_findings


def examine(bundle: str | os.PathLike[str] | None, backend: str = "auto", inexact: str = "auto") -> tuple[Finding, ...]:
    """Look at the machine, and at a bundle if one is given.

    Args:
        bundle: a directory to verify and to run once, or None.
        backend: with which the bundle is run.
        inexact: as for ``Session.open``.
    """
    findings = [*library_findings(), *nvidia_findings(), guarded("coder and chain", self_test)]
    if bundle is not None:
        path = bundle
        findings.append(guarded("bundle", lambda: bundle_runs(path, backend, inexact)))
        findings.extend(guarded_all("entropy path", lambda: entropy_path(path, backend)))
        findings.extend(guarded_all("engines", lambda: engine_findings(path, backend)))
    return tuple(findings)
