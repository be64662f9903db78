"""Serving an app over HTTP with granian's embedded server, in this process and on this event loop.

What granian 2.8 does at a stop was measured (`tests/server/test_serve.py` holds it to that): it closes the
listener and idle connections at once, lets requests in flight finish, also those whose body is still
arriving, tells their clients `connection: close`, and returns when the last one is answered. It does not wait
for requests whose client has left, so the app counts its own.

Shutdown:
    1. `/readyz` says no, for `drain_delay`. 2. The listener closes, long polls are answered. 3. Requests in
    flight finish; the app bounds each by `http_timeout`, and after twice that nobody waits for them any more.
    4. The app's threads end. Idempotent; the `Jobs` behind the app stays open.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol, cast

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from millhand.core.clock import Seconds
from millhand.server.app import App

BACKLOG = 1024
MOST_CONNECTIONS = 8192

SWITCH_INTERVAL: Seconds = 0.005
"""How often threads take turns in the process that serves: see `tune_process`."""

log = logging.getLogger("millhand.server")


class StopWish(Protocol):
    """Something that can be waited for, such as an `asyncio.Event`."""

    async def wait(self) -> object:
        """Return when the server is to stop."""


class HttpService:
    """An app that is being served.

    Args:
        app: what answers.
        host: the address to listen on.
        port: the port; 0 takes any free one, told by `port` after `start`.
    """

    def __init__(self, app: App, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._app = app
        self._granian: _Granian | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._app.in_flight

    @property
    def polls(self) -> int:
        """How many long polls wait."""
        return self._app.polls

    async def start(self) -> None:
        """Listen; when this returns, connections are accepted.

        Raises:
            OSError: the address cannot be had; the text says which and why.
        """
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        self._granian = _Granian(self._app, listener, self._app.settings.http_timeout)
        self._serving = asyncio.create_task(self._granian.serve(), name="millhand-http")

    async def stop(self) -> None:
        """Stop in the order above; a second call waits for the first."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name="millhand-http-stop")
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._app.drain()
        settings = self._app.settings
        if settings.drain_delay:
            await asyncio.sleep(settings.drain_delay)
        if self._granian is not None and self._serving is not None:
            self._granian.stop()  # type: ignore[no-untyped-call]  # granian ships no types for it
            self._app.answer_polls()
            _, late = await asyncio.wait([self._serving], timeout=2 * settings.http_timeout)
            if late:
                log.warning("some clients did not take their answers in time; their connections are dropped")
                self._serving.cancel()
        await self._app.wait_until_idle(2 * settings.http_timeout)
        self._app.close()


async def serve(app: App, host: str, port: int, *, on_ready: Callable[[int], None], stop: StopWish) -> None:
    """Serve until `stop`, then stop gracefully.

    Args:
        app: what answers.
        host: the address to listen on.
        port: the port; 0 takes any free one.
        on_ready: is told the real port once connections are accepted.
        stop: is waited for.

    Raises:
        OSError: the address cannot be had; the text says which and why.
    """
    service = HttpService(app, host, port)
    await service.start()
    on_ready(service.port)
    try:
        await stop.wait()
    finally:
        await service.stop()


def tune_process() -> None:
    """Set this process up for serving; for the main of a process that does nothing else.

    It pins the switch interval, which a user's module may have changed. With commits in threads a shorter one
    was expected to help, but 0.5 ms made no difference on idle cores and cost a tenth on busy ones
    (`bench/http_intake.py --switch`): the loop gives the interpreter away at every turn anyway.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)


class _Granian(Server):
    """granian on a socket that is bound already: it would share a taken port (SO_REUSEPORT) without a word."""

    def __init__(self, app: App, listener: socket.socket, header_timeout: Seconds) -> None:
        super().__init__(
            target=app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=max(1, int(header_timeout * 1000))),
            websockets=False,
            backlog=BACKLOG,
            backpressure=MOST_CONNECTIONS,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGING,
        )
        self._listener = listener
        self._shd: Any = None

    def _init_shared_socket(self) -> None:
        # Detached: granian closes the descriptor itself.
        self._shd = _holder(self._listener.detach(), False, BACKLOG)


_holder = cast("Callable[..., Any]", SocketHolder)  # its stub names no arguments
_LOGGING: dict[str, Any] = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}
"""Without `incremental`, making a granian server would close every log handler of the process."""


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from None
    return listener
