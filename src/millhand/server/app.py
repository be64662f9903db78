"""The HTTP face as one plain ASGI callable, to be served by itself or mounted into anybody's app.

The two routes that carry the load (`POST /jobs`, `GET /jobs/{id}`) are answered before Starlette's router
sees them: measured on two cores, its stack alone costs more than such a request.

Guarantees:
    Every request is answered once, within `http_timeout` (a long poll: after its wait), and every error
    is a problem (RFC 9457). Nothing is sent before the whole answer is known.

Shutdown:
    1. `drain`: `/readyz` says no. 2. `answer_polls`: long polls are answered at once. 3. `wait_until_idle`.
    4. `close` ends the threads. The `Jobs` stays open: who made it closes it.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.routing import Route, Router

from millhand.core.clock import Seconds
from millhand.jobs import Jobs
from millhand.server.answers import Message, Receive, Scope, Send, answer_error, send_answer
from millhand.server.deadline import Deadlines
from millhand.server.health_routes import HealthRoutes
from millhand.server.intake import IntakeDoor
from millhand.server.job_routes import LONGEST_WAIT, JobRoutes
from millhand.server.metrics import Metrics
from millhand.server.reads import Reads
from millhand.server.settings import ServerSettings
from millhand.wire import AnswerTooLate, BodyTooSlow

_READING = frozenset({"GET", "HEAD"})


class App:
    """An ASGI application for one `Jobs`. Make it with `build_app`."""

    def __init__(self, jobs: Jobs, settings: ServerSettings) -> None:
        self.settings = settings
        self.draining = False
        self._in_flight = 0
        self._idle: asyncio.Future[None] | None = None
        self._metrics = Metrics()
        self._deadlines = Deadlines(settings.http_timeout)
        self._intake = IntakeDoor(lambda: jobs.store.intake, settings, self._metrics.batches.note)
        self._reads = Reads(jobs)
        self._jobs = JobRoutes(jobs, settings, self._intake, self._reads)
        health = HealthRoutes(
            jobs,
            self._reads,
            self._metrics,
            draining=lambda: self.draining,
            metrics_enabled=settings.metrics_enabled,
        )
        self._router = _build_router(self._jobs, health)
        self._submits = self._metrics.route("POST /jobs")
        self._gets = self._metrics.route("GET /jobs/{id}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or take part in the lifespan protocol)."""
        if scope["type"] == "http":
            self._in_flight += 1
            try:
                await self._answer(scope, receive, send)
            finally:
                self._in_flight -= 1
                if self._idle is not None and not self._in_flight and not self._idle.done():
                    self._idle.set_result(None)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """How many submits wait for their commit to begin, or for room in the queue."""
        return self._intake.waiting

    @property
    def polls(self) -> int:
        """How many long polls wait for their job's end."""
        return self._reads.polls

    def drain(self) -> None:
        """Say on `/readyz` that no more requests should come; those that do are answered as before."""
        self.draining = True

    def answer_polls(self) -> None:
        """Answer all long polls with the jobs as they stand now."""
        self._reads.answer_polls()

    async def wait_until_idle(self, timeout: Seconds) -> bool:
        """Wait until no request is in flight; tell whether that was so in time.

        A server's own idea of this is not enough: it forgets requests whose client has left.
        """
        if self._in_flight:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle], timeout=timeout)
        return not self._in_flight

    def close(self) -> None:
        """End the threads. Idempotent. Requests that still wait for their commit to begin get a 503."""
        self._intake.close()
        self._reads.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        path, method = _path_of(scope), scope["method"]
        if method == "POST" and path == "/jobs":
            route, deadline = self._submits, self._deadlines.enter()
            answering = self._jobs.submit(scope, receive, deadline)
        elif method in _READING and path[:6] == "/jobs/" and _is_id(path[6:]) and not scope["query_string"]:
            route, deadline = self._gets, self._deadlines.enter()
            answering = self._jobs.read(path[6:])
        else:
            await self._route({**scope, "app": self}, receive, send, started)
            return
        try:
            answer = await answering
        except Exception as error:  # noqa: BLE001 - the edge: every error becomes a problem
            answer = answer_error(error, scope)
        except asyncio.CancelledError:
            if not deadline.overdue or deadline.task.uncancel():
                raise  # not ours, or not only: somebody ends the whole task
            timeout = self.settings.http_timeout
            answer = answer_error(BodyTooSlow(timeout) if deadline.reading else AnswerTooLate(timeout), scope)
        finally:
            self._deadlines.leave(deadline)
        route.note(answer.status, perf_counter() - started)
        await send_answer(answer, scope, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send, started: float) -> None:
        # An outer Starlette app's handlers must not turn our errors into something else.
        scope.pop("starlette.exception_handlers", None)
        scope.pop("route", None)
        watched = _WatchedSend(send, silent=scope["method"] == "HEAD")
        seconds = self.settings.http_timeout + (LONGEST_WAIT if _may_wait(scope) else 0.0)
        try:
            async with asyncio.timeout(seconds) as bound:
                await self._router(scope, receive, watched)
        except Exception as error:
            if watched.status:
                raise  # half an answer is out; only the server below can end the connection
            failure = AnswerTooLate(seconds) if bound.expired() else error
            await send_answer(answer_error(failure, scope), scope, watched)
        self._metrics.route(_label(scope)).note(watched.status, perf_counter() - started)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        self.close()
        await send({"type": "lifespan.shutdown.complete"})


class _WatchedSend:
    """A send that remembers the status (0: nothing was sent) and keeps the body back if it must."""

    __slots__ = ("_send", "_silent", "status")

    def __init__(self, send: Send, *, silent: bool) -> None:
        self._send, self._silent = send, silent
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self._silent:
            message = {**message, "body": b""}
        await self._send(message)


def build_app(jobs: Jobs, settings: ServerSettings | None = None) -> App:
    """Return the HTTP face of these jobs.

    It opens nothing and starts no thread before its first request. Mounted under a prefix, it answers there.
    """
    return App(jobs, settings or ServerSettings())


def _build_router(jobs: JobRoutes, health: HealthRoutes) -> Router:
    return Router(
        [
            # POST is answered before; it stands here so that a wrong method is told of it.
            Route("/jobs", jobs.find, methods=["GET", "POST"]),
            Route("/jobs/{id}", jobs.wait, methods=["GET"]),
            Route("/jobs/{id}/cancel", jobs.cancel, methods=["POST"]),
            Route("/livez", health.livez, methods=["GET"]),
            Route("/readyz", health.readyz, methods=["GET"]),
            Route("/health", health.health, methods=["GET"]),
            Route("/metrics", health.metrics, methods=["GET"]),
        ],
        redirect_slashes=False,
    )


def _path_of(scope: Scope) -> str:
    path: str = scope["path"]
    root = scope.get("root_path")
    return path.removeprefix(root) if root else path


def _is_id(text: str) -> bool:
    return text != "" and "/" not in text


def _may_wait(scope: Scope) -> bool:
    return _path_of(scope).startswith("/jobs/") and scope["query_string"] != b""


def _label(scope: Scope) -> str:
    """Name a route by its template; methods and paths that nobody takes share one name, so names stay few."""
    route = scope.get("route")
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return f"{method} {route.path}" if isinstance(route, Route) and method in (route.methods or ()) else "other"
