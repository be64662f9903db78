"""A pool whose workers are the schedule: it decides which task begins, how long it takes, and what it does."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import TaskTimeout
from tests.auditor import Kind
from tests.simulation.client import UNFIT
from tests.simulation.step import Step

if TYPE_CHECKING:
    from tests.simulation.runner import RunnerProcess


performing: ContextVar[Callable[[], Any]] = ContextVar("performing")
"""What the handler does that runs here."""


@dataclass(eq=False)
class SimTask:
    """One call. Its function runs at the step that ends it; from the step that begins it, it counts as running."""

    call: Callable[[], Any]
    job_id: str
    token: int
    attempt: int
    timeout: Seconds | None
    future: Future[Any] = field(default_factory=Future)
    ends_at: Instant = 0.0
    times_out_at: Instant = float("inf")


class SimPool:
    """What `Attempts` asks of a pool, without threads."""

    def __init__(self, process: RunnerProcess, workers: int) -> None:
        self._process = process
        self._workers = workers
        self._waiting: list[SimTask] = []
        self._running: list[SimTask] = []
        self._written_off: list[SimTask] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, timeout: Seconds | None = None) -> Future[Any]:
        """Let a call wait for a worker. Its one argument is the `Attempt`, which says what the history must know."""
        job = args[0].job
        task = SimTask(lambda: fn(*args), job.id, job.token, job.attempt, timeout)
        self._waiting.append(task)
        return task.future

    def with_options(self, *, timeout: Seconds | None = None) -> _View:
        """Return a view with a limit on the time of each call."""
        return _View(self, timeout)

    def steps(self, now: Instant) -> Iterator[Step]:
        """Yield what can be done now."""
        if self._waiting and len(self._running) < self._workers:
            yield Step(self._process, "begin", now, self._begin)
        for task in self._running:
            if task.times_out_at <= now:
                yield Step(self._process, "time out", task.times_out_at, lambda task=task: self._time_out(task))
        for task in (*self._running, *self._written_off):
            if task.ends_at <= now:
                yield Step(self._process, "end", task.ends_at, lambda task=task: self._end(task))

    def next_due(self) -> Instant:
        """Return when there is something to do next."""
        dues = [task.ends_at for task in (*self._running, *self._written_off)]
        return min([*dues, *(task.times_out_at for task in self._running)], default=float("inf"))

    def _begin(self) -> None:
        task = self._waiting.pop(0)
        if not task.future.set_running_or_notify_cancel():
            return
        now = self._process.world.clock.monotonic()
        self._running.append(task)
        if task.job_id.startswith(UNFIT):
            task.ends_at = now
            return
        task.ends_at = now + self._process.world.draw_duration()
        task.times_out_at = now + task.timeout if task.timeout is not None else float("inf")
        self._note(Kind.EFFECT_BEGIN, task)

    def _time_out(self, task: SimTask) -> None:
        """Fail its future and take another thread in its place; its own is still inside the function."""
        self._running.remove(task)
        self._written_off.append(task)
        task.future.set_exception(TaskTimeout(task.job_id, task.timeout or 0.0))

    def _end(self, task: SimTask) -> None:
        (self._running if task in self._running else self._written_off).remove(task)
        if self._process.world.is_poison(task.job_id):
            self._process.crash()
        try:
            value = contextvars.copy_context().run(self._perform, task)
        except Exception as error:
            self._process.world.note(Kind.RAISED, runner=self._process.runner, text=f"{error!r} in a worker")
            return
        if not task.future.done():
            task.future.set_result(value)

    def _perform(self, task: SimTask) -> Any:
        def perform() -> object:
            self._note(Kind.EFFECT_END, task)
            return self._process.world.perform(task.token)

        performing.set(perform)
        return task.call()

    def _note(self, kind: Kind, task: SimTask) -> None:
        self._process.world.note(
            kind, id=task.job_id, token=task.token, attempt=task.attempt, runner=self._process.runner
        )


class _View:
    def __init__(self, pool: SimPool, timeout: Seconds | None) -> None:
        self._pool, self._timeout = pool, timeout

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        return self._pool.submit(fn, *args, timeout=self._timeout)
