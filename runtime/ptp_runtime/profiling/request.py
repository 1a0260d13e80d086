"""The whole of ``ptp profile``: open, measure, look at fresh processes and layers, and put it into one document."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numba

from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import BackendNotAvailableError, MissingExtraError
from ptp_runtime.profiling.cold import cold_start
from ptp_runtime.profiling.document import OURS, profile_document
from ptp_runtime.profiling.layers import layer_times
from ptp_runtime.profiling.machine import machine, software
from ptp_runtime.profiling.measure import Photo, Progress, measure
from ptp_runtime.profiling.rivals import open_rival
from ptp_runtime.profiling.windows import StabilityRule
from ptp_runtime.sensors import NvmlSensors, open_nvml
from ptp_runtime.session import Session


@dataclass(frozen=True)
class ProfileRequest:
    """What to profile, and how.

    Attributes:
        backend, threads: as for ``Session.open``.
        options: further arguments of ``Session.open``, all of them JSON values.
        rate: None: the bundle's default.
        rule: when to stop.
        cold_rounds: fresh processes of each side; 0: none.
        layers: also by layer, where the backend can tell.
        against: names of rivals (:mod:`ptp_runtime.profiling.rivals`).
        checkpoint: the rivals' weights.
        compiled: also the rivals with their networks compiled.
        environment: the variables of the process that decide about threads, for the document.
    """

    backend: str = "auto"
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: int | None = None
    rule: StabilityRule = field(default_factory=StabilityRule)
    cold_rounds: int = 3
    layers: bool = False
    against: Sequence[str] = ()
    checkpoint: str = "demo"
    compiled: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def make_profile(
    bundle: Bundle, photos: Sequence[Photo], request: ProfileRequest, progress: Progress | None = None
) -> dict[str, Any]:
    """The document (:mod:`ptp_runtime.profiling.schema`).

    Args:
        bundle: opened.
        photos: at least one.
        request: what to do.
        progress: see :func:`~ptp_runtime.profiling.measure.measure`.

    Raises:
        PtpError: what opening, encoding or decoding raises; or a rival is not there.
    """
    with ExitStack() as stack:
        nvml = _nvml_if_any(stack)
        # Fresh processes first: the memory and threads of this one would be in their way.
        cold = None
        if request.cold_rounds:
            cold = cold_start(
                bundle.path,
                photos[0].pixels,
                backend=request.backend,
                threads=request.threads,
                rate=request.rate,
                options=request.options,
                rounds=request.cold_rounds,
            )
        ours = stack.enter_context(
            Session.open(bundle, backend=request.backend, threads=request.threads, **request.options)
        )
        sessions, providers = {OURS: ours}, {}
        for name, compiled in ((name, compiled) for name in request.against for compiled in (False, True)):
            if compiled and not request.compiled:
                continue
            subject = f"{name} compiled" if compiled else name
            rival = open_rival(name, bundle, checkpoint=request.checkpoint, threads=request.threads, compiled=compiled)
            sessions[subject] = stack.enter_context(Session.open(bundle, backend=rival))
            providers[subject] = rival.provider
        measured = measure(sessions, photos, request.rule, rate=request.rate, nvml=nvml, progress=progress)
        layers = {}
        if request.layers:
            layers = layer_times(bundle, ours.backend.backend, photos[0].pixels, request.rate)
        return profile_document(
            bundle,
            measured,
            photos,
            request.rule,
            choice=ours.backend,
            rivals=providers,
            settings={
                "threads": request.threads or _usable_cores(),
                "numba_threads": numba.get_num_threads(),
                "rate": ours.default_rate if request.rate is None else request.rate,
                "options": dict(request.options),
                "environment": dict(request.environment),
            },
            machine=machine(() if nvml is None else nvml.read()),
            software=software(),
            cold=cold,
            layers=layers,
        )


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nvml_if_any(stack: ExitStack) -> NvmlSensors | None:
    """The device's sensors, where there are any."""
    try:
        sensors = open_nvml()
    except (MissingExtraError, BackendNotAvailableError):
        return None
    stack.callback(sensors.close)
    return sensors
