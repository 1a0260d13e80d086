"""The service itself, before any protocol: a request for a model in, a response or a typed error out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from ptp_runtime.errors import OverloadedError, PtpError
from ptp_runtime.service.serve.catalogue import Catalogue
from ptp_runtime.service.serve.limits import Limits
from ptp_runtime.service.serve.metrics import Metrics
from ptp_runtime.service.serve.model import ServedModel
from ptp_runtime.service.serve.requests import Request, Response
from ptp_runtime.service.serve.statuses import CLOSED_BY_CLIENT, status_of
from ptp_runtime.service.serve.work import Workers

_log = logging.getLogger(__name__)

Reading = Callable[[ServedModel], Awaitable[Request]]


class Service:
    """Models, workers and counters of one service.

    Args:
        catalogue: what is served.
        limits: how much is taken on.

    Attributes:
        catalogue, limits: as given.
        workers: who work.
        metrics: what was counted.
        stopping: whether it no longer takes requests.
    """

    def __init__(self, catalogue: Catalogue, limits: Limits | None = None) -> None:
        self.catalogue = catalogue
        self.limits = Limits() if limits is None else limits
        self.workers = Workers(catalogue.workers, self.limits)
        self.metrics = Metrics(self.workers)
        self.stopping = False

    async def answer(self, name: str, version: str, protocol: str, read: Reading) -> Response:
        """Answer a request, and count it.

        Args:
            name, version: of the model.
            protocol: which brought it, for the counters.
            read: gives the request, once its model is known.

        Raises:
            PtpError: the request cannot be answered; see :mod:`ptp_runtime.service.serve.statuses`.
        """
        begin = time.perf_counter()
        counted, status = "", 200
        try:
            self.require_running()
            model = self.catalogue.model(name, version)
            counted = model.name
            request = await read(model)
            plan = await asyncio.to_thread(model.plan, request, self.limits, self.workers.budget)
            results = await self.workers.run(plan.jobs)
            self.metrics.worked(counted, results)
            return plan.answer(results)
        except asyncio.CancelledError:
            status = CLOSED_BY_CLIENT
            raise
        except PtpError as error:
            status = status_of(error)[0]
            raise
        except Exception:
            status = status_of(Exception())[0]
            _log.exception("a request for %s failed", counted)
            raise
        finally:
            self.metrics.answered(counted, protocol, status, time.perf_counter() - begin)

    def require_running(self) -> None:
        """Refuse what comes after the end has begun.

        Raises:
            OverloadedError: the service is stopping.
        """
        if self.stopping:
            raise OverloadedError("the service is stopping", hint="ask another one, or try again later")

    def close(self) -> None:
        """Finish what has begun, then close the sessions."""
        self.stopping = True
        self.workers.close()
        self.catalogue.close()
