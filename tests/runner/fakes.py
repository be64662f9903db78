"""A pool whose calls run when the test says so, a clock that moves when told, and a store that refuses on demand."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from millhand.core import PoolClosed, StoreError, TaskTimeout
from millhand.jobs.store import Store
from millhand.runner.duty import Bell


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> float:
        self.time += seconds
        return self.time


class FakeTask:
    """One call that a pool was given; the test plays the worker."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> None:
        self.timeout = timeout
        self.future: Future[Any] = Future()
        self._fn, self._args = fn, args

    def begin(self) -> bool:
        """Take the call up; False if it was cancelled before."""
        return self.future.set_running_or_notify_cancel()

    def time_out(self) -> None:
        """Let its time be up while the function still runs, as on a thread that nobody can stop."""
        self.future.set_exception(TaskTimeout("task", self.timeout or 0.0))

    def come_back(self) -> None:
        """Run the function, and answer, unless the time was up before."""
        result = contextvars.copy_context().run(self._fn, *self._args)
        if not self.future.done():
            self.future.set_result(result)

    def run(self) -> None:
        if self.begin():
            self.come_back()


class FakePool:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.tasks: list[FakeTask] = []
        self.places: int | None = None
        """How many more calls it takes before it is closed; None: any number."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        return self.take(fn, args, None)

    def with_options(self, *, timeout: float | None = None) -> Any:
        return _View(self, timeout)

    def take(self, fn: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> Future[Any]:
        if self.places is not None:
            if self.places == 0:
                raise PoolClosed("the pool was closed")
            self.places -= 1
        task = FakeTask(fn, args, timeout)
        self.tasks.append(task)
        return task.future

    @property
    def waiting(self) -> list[FakeTask]:
        return [task for task in self.tasks if not task.future.done() and not task.future.running()]

    def run(self, n: int | None = None) -> None:
        """Run the next `n` calls that wait (None: all of them)."""
        for task in self.waiting[:n]:
            task.run()


class _View:
    def __init__(self, pool: FakePool, timeout: float | None) -> None:
        self._pool, self._timeout = pool, timeout

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        return self._pool.take(fn, args, self._timeout)


class RecordingStore:
    """A real store that notes what is asked of its claims, and refuses what it is told to refuse."""

    def __init__(self, store: Store) -> None:
        self.intake, self.reading, self.control = store.intake, store.reading, store.control
        self.housekeeping = store.housekeeping
        self.claims = self
        self.refused: set[str] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.real = store.claims

    def of(self, verb: str) -> list[dict[str, Any]]:
        """What was asked under this verb."""
        return [arguments for asked, arguments in self.asked if asked == verb]

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real = getattr(self.real, verb)

        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((verb, kwargs | ({"args": args} if args else {})))
            if verb in self.refused:
                raise StoreError(f"the store refuses to {verb} now")
            return real(*args, **kwargs)

        return ask


class CountingBell(Bell):
    """A bell that tells how often it was rung."""

    def __init__(self) -> None:
        super().__init__()
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1
        super().ring()
