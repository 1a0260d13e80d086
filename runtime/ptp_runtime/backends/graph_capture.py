"""The kernels of an engine recorded as a CUDA graph, which the driver then starts in one call instead of one by one.

For TensorRT, whose users do this themselves; TensorRT for RTX does it inside (:mod:`.engine_graph`). Unseen on a GPU so
far: written against the documentation, tested with a driver that pretends.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Hashable

from ptp_runtime.backends.cuda_driver import Device
from ptp_runtime.errors import EngineError

_THREAD_LOCAL = 1
"""Capture mode: what other threads do at the same time, such as allocating, does not disturb the recording."""

_log = logging.getLogger(__name__)


class CapturedRuns:
    """Runs that are recorded when they come a second time in the same form, and replayed from then on.

    The first run in a form is an ordinary one: an engine may allocate and choose then, which cannot be recorded. A
    recording that fails is the last that is tried: the runs are ordinary ones again.

    Args:
        device: with the stream of work.
        enqueue: puts the kernels on that stream; False where it could not.
        records: False: all runs are ordinary ones.
    """

    def __init__(self, device: Device, enqueue: Callable[[], bool], *, records: bool = True) -> None:
        self._device = device
        self._enqueue = enqueue
        self._form: Hashable = None
        self._recording = ctypes.c_void_p()
        self._hopeless = not records

    def run(self, form: Hashable) -> bool:
        """One run.

        Args:
            form: all that the kernels depend on: shapes and addresses. A recording holds for one form only.

        Returns:
            whether it was put on the stream.

        Raises:
            EngineError: a recording that was made cannot be started.
        """
        if self._hopeless:
            return self._enqueue()
        if form != self._form:
            self.forget()
            started = self._enqueue()
            self._form = form if started else None
            return started
        if not self._recording and not self._record():
            return self._enqueue()
        self._device.driver.call("cuGraphLaunch", self._recording, self._stream)
        return True

    @property
    def _stream(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._device.stream)

    def _record(self) -> bool:
        """Whether there is a recording now. Nothing has run by it yet."""
        call, graph = self._device.driver.call, ctypes.c_void_p()
        try:
            call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
            # The stream must leave the capture whatever became of the run.
            started = self._enqueue()
            call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            if started:
                call("cuGraphInstantiateWithFlags", ctypes.byref(self._recording), graph, ctypes.c_ulonglong(0))
        except EngineError as error:
            _log.info("no CUDA graph for this engine, which runs kernel by kernel: %s", error)
        if graph:
            call("cuGraphDestroy", graph)
        self._hopeless = not self._recording
        return not self._hopeless

    def forget(self) -> None:
        """Give a recording back."""
        self._form = None
        if self._recording:
            self._device.driver.call("cuGraphExecDestroy", self._recording)
            self._recording = ctypes.c_void_p()
