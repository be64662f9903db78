"""The routes for those who watch: is it alive, may it get traffic, how is it, what does it count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from millhand.core.clock import Seconds
from millhand.core.errors import StoreError
from millhand.core.job import JobState
from millhand.jobs import Jobs
from millhand.server.job_routes import respond
from millhand.server.metrics import Metrics, StoreMetrics, expose
from millhand.server.reads import Reads
from millhand.wire import RouteNotFound

STORE_ANSWERS_WITHIN: Seconds = 1.0


class HealthRoutes:
    """These tell how the server is. `draining` says whether it is about to stop."""

    def __init__(
        self, jobs: Jobs, reads: Reads, metrics: Metrics, *, draining: Callable[[], bool], metrics_enabled: bool
    ) -> None:
        self._jobs, self._reads, self._metrics = jobs, reads, metrics
        self._draining, self._metrics_enabled = draining, metrics_enabled
        self._started = time.monotonic()
        self._probe: asyncio.Future[Mapping[JobState, int]] | None = None

    async def livez(self, request: Request) -> Response:
        """`GET /livez`: 200 as long as the event loop turns; the store is not touched."""
        return respond({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """`GET /readyz`: 200 if the server should get traffic, else 503; `checks` says why."""
        checks = {
            "store": "ok" if await self._counts() is not None else "no answer",
            "draining": "yes" if self._draining() else "no",
        }
        ready = checks == {"store": "ok", "draining": "no"}
        return respond({"status": "ok" if ready else "unavailable", "checks": checks}, 200 if ready else 503)

    async def health(self, request: Request) -> Response:
        """`GET /health`: version, uptime, jobs by state, runners alive; 503 when the store does not answer."""
        counts = await self._counts()
        runners = None if counts is None else await self._reads.run(self._count_runners)
        status = "unavailable" if counts is None else "draining" if self._draining() else "ok"
        body: dict[str, Any] = {
            "status": status,
            "version": _version(),
            "uptime": round(time.monotonic() - self._started, 3),
            "jobs": counts,
            "runners": runners,
        }
        return respond(body, 503 if counts is None else 200)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`: the counters; the store's are left out while it does not answer."""
        if not self._metrics_enabled:
            raise RouteNotFound("/metrics")
        counts = await self._counts()
        collectors: list[Any] = [self._metrics]
        if counts is not None:
            collectors.append(StoreMetrics(counts, await self._reads.run(self._jobs.store.reading.totals)))
        text, content_type = expose(collectors, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    async def _counts(self) -> Mapping[JobState, int] | None:
        # One probe at a time: while the store hangs, each question would otherwise tie up one more thread.
        if self._probe is None or self._probe.done():
            self._probe = self._reads.run(self._read_counts)
        done, _ = await asyncio.wait([self._probe], timeout=STORE_ANSWERS_WITHIN)
        if not done:
            return None
        try:
            return self._probe.result()
        except StoreError:
            return None

    def _read_counts(self) -> Mapping[JobState, int]:
        # In the thread: the first use of `store` opens the database.
        return self._jobs.store.reading.counts()

    def _count_runners(self) -> int:
        now = time.time()
        return sum(runner.expires_at > now for runner in self._jobs.store.reading.runners())


def _version() -> str:
    try:
        return version("millhand")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
