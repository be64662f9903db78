"""Options that go with a call: checked once, bound to a view of the pool that is an executor itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from millhand.core.clock import Seconds
from millhand.pool.crew import Crew
from millhand.pool.future import Future
from millhand.pool.task import Task

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """This is what a caller may ask for a call, beside the call."""

    timeout: Seconds | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        # "not > 0" instead of "<= 0", so that NaN does not pass
        if self.timeout is not None and not (isinstance(self.timeout, int | float) and self.timeout > 0):
            raise ValueError(f"timeout must be a number of seconds above 0, or None, got {self.timeout!r}")
        if not isinstance(self.priority, int) or isinstance(self.priority, bool):
            raise ValueError(f"priority must be a whole number, higher runs sooner, got {self.priority!r}")


class PoolView(Executor):
    """This is a pool with options bound: what is submitted here runs there, under these options.

    It is the same pool: its workers, its queue and its end are shared, and `shutdown` shuts the pool down.
    """

    def __init__(self, pool: Executor, crew: Crew, options: Options) -> None:
        self._pool, self._crew, self._options = pool, crew, options

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call on a worker of the pool, under the options; as `ThreadPool.submit` otherwise."""
        task = Task(fn, args, kwargs, self._crew.books.cancels)
        task.timeout = self._options.timeout
        self._crew.submit(task, self._options.priority)
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the stdlib
        """Shut the pool down."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
