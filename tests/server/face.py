"""A server's HTTP face without a socket, and a `Jobs` whose store does what a test wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import httpx

from millhand.core.errors import QueueFull
from millhand.core.job import NewJob
from millhand.jobs import Jobs
from millhand.server import App, ServerSettings, build_app

Returned = TypeVar("Returned")


class Stubborn:
    """A store's part in front of a real one: methods that a test has replaced, the real ones otherwise."""

    def __init__(self, real: Any, **replaced: Callable[..., Any]) -> None:
        self._real = real
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class StubbornJobs:
    """A `Jobs` with parts of its store replaced."""

    def __init__(self, jobs: Jobs, **parts: dict[str, Callable[..., Any]]) -> None:
        self._jobs = jobs
        self.store = Stubborn(jobs.store)
        for part, replaced in parts.items():
            setattr(self.store, part, Stubborn(getattr(jobs.store, part), **replaced))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)


class Face:
    """An app, a client for it, and the loop that both live on."""

    def __init__(self, jobs: Any, settings: ServerSettings | None = None) -> None:
        self.jobs = jobs
        self.app: App = build_app(jobs, settings)
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://millhand")

    def run(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        return self._runner.run(work)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self.client.request(method, path, **options))

    def submit(self, type: str = "double", payload: Any = (21,), **options: Any) -> str:
        answer = self.ask("POST", "/jobs", json={"type": type, "payload": payload, **options})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def call(self, body: Sequence[dict[str, Any]], headers: Sequence[tuple[bytes, bytes]] = ()) -> int:
        """Exchange, in a turn of its own."""
        return self.run(self.exchange(list(body), headers))

    def close(self) -> None:
        self.run(self.client.aclose())
        self.app.close()
        self._runner.close()

    async def exchange(self, body: list[dict[str, Any]], headers: Sequence[tuple[bytes, bytes]]) -> int:
        """POST with these very ASGI messages; return the status. After the last message the client is silent."""
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if body:
                return body.pop(0)
            return await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/jobs", "query_string": b"", "headers": headers}
        await asyncio.create_task(self.app(scope, receive, send))
        return int(sent[0]["status"])


class Gate:
    """An enqueue that waits until it is let through, and tells which batches it got."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.batches: list[int] = []

    def enqueue(self, jobs: Sequence[NewJob], *, limit: int | None = None) -> list[QueueFull | None]:
        self.batches.append(len(jobs))
        self.reached.set()
        assert self.opened.wait(10)
        return list(self._real(jobs, limit=limit))
