"""A bundle's engines on this machine: whether they load, why not in a sentence, and what to run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ptp_runtime.doctor.finding import FAIL, NOTE, OK, Finding
from ptp_runtime.engines.bundle_engines import EngineState, engine_states
from ptp_runtime.engines.diagnosis import LIBRARY_NAMES
from ptp_runtime.engines.repair import open_for_repair
from ptp_runtime.errors import BundleError, PtpError


def engine_findings(path: str | os.PathLike[str], asked: str = "auto") -> tuple[Finding, ...]:
    """A finding for each target that the bundle has engines for.

    Args:
        path: of the bundle. One whose engine files are damaged is looked at too: engines can be made again.
        asked: the backend that was asked for; engines of that name must work.
    """
    try:
        main = open_for_repair(path)
        tasks = [main, *(open_for_repair(path, task) for task in main.bundle.tasks[1:])]
    except BundleError:
        return ()  # the finding on the bundle says it
    targets = dict.fromkeys(engine.target for damaged in tasks for engine in damaged.bundle.manifest.engines)
    broken = any(damaged.broken for damaged in tasks)
    found = []
    for target in targets:
        # Tasks share most engines: each file once.
        states = {state.entry.file: state for damaged in tasks for state in engine_states(damaged, target)}
        found.append(_finding(str(path), target, tuple(states.values()), must=asked == target or broken))
    return tuple(found)


def _finding(path: str, target: str, states: Sequence[EngineState], *, must: bool) -> Finding:
    subject = f"engines for {LIBRARY_NAMES[target]}"
    built_with = ", ".join(dict.fromkeys(state.entry.built_with for state in states))
    devices = ", ".join(dict.fromkeys(cc for state in states for cc in state.entry.devices))
    what = f"{len(states)}, built with {built_with} for {f'GPUs of {devices}' if devices else 'its default GPUs'}"
    # What is wrong with an engine itself is worth more than that there is no GPU to run it on.
    faulty = [state for state in states if state.own_fault]
    useless = faulty or [state for state in states if state.problem is not None]
    if not useless:
        return Finding(subject, OK, f"{what}; all load here, {_proofs(states)}")
    problem = useless[0].problem
    instead = "ONNX Runtime runs the graphs instead, with the same streams"
    reason = f"{what}; {len(useless)} of them do not load here: {_sentence(problem)}; {instead}"
    if faulty:
        return Finding(subject, FAIL if must else NOTE, reason, f"ptp doctor --fix {path}")
    return Finding(subject, FAIL if must else NOTE, reason, "" if problem is None else problem.hint)


def _sentence(problem: PtpError | None) -> str:
    if problem is None:
        return ""
    parts = [problem.message]
    parts += [f"expected {problem.expected}"] if problem.expected else []
    parts += [f"got {problem.got}"] if problem.got else []
    return ", ".join(parts)


def _proofs(states: Sequence[EngineState]) -> str:
    proved = [state for state in states if state.proof]
    sentences = dict.fromkeys(state.proof for state in proved)
    return "; ".join(sentences) or "nothing was asked of their precision"
