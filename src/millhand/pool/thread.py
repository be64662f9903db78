"""The pool of threads that takes the place of `concurrent.futures.ThreadPoolExecutor`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, ParamSpec, TypeVar, cast

from millhand.core.clock import Seconds
from millhand.pool.crew import Crew
from millhand.pool.future import Future
from millhand.pool.options import Options, PoolView
from millhand.pool.stats import PoolStats
from millhand.pool.task import Task

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_QUEUE_SIZE = 100_000

_numbers = count()


class ThreadPool(ThreadPoolExecutor):
    """This runs calls on threads: a `ThreadPoolExecutor` with a bounded queue, timeouts, priorities and stats.

    Threads are started when needed, idle ones are used first. A context (contextvars) is copied at each
    submit. Shutdown, the end of the interpreter and garbage collection of the pool work as in the standard
    library: what was submitted still runs.

    Args:
        max_workers: how many calls run at once; None: as the standard library chooses.
        thread_name_prefix: the threads are called `<prefix>_<number>`.
        initializer: called first in each thread; if it raises, the pool is broken.
        initargs: its arguments.
        queue_size: how many calls may wait for a worker; None: as many as fit in memory.

    Raises:
        ValueError: max_workers or queue_size is less than 1.
        TypeError: initializer cannot be called.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        queue_size: int | None = DEFAULT_QUEUE_SIZE,
    ) -> None:
        name = thread_name_prefix or f"ThreadPool-{next(_numbers)}"
        super().__init__(max_workers, name, initializer, initargs)
        if queue_size is not None and queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, or None for no bound, got {queue_size}")
        self._crew = Crew(
            self,
            size=self._max_workers,
            name=name,
            queue_size=queue_size,
            initializer=partial(initializer, *initargs) if initializer else None,
        )
        # Programs look at these two, as len(pool._threads) or pool._work_queue.qsize(): they show the real ones.
        self._threads = self._crew.threads
        self._work_queue = cast("Any", self._crew.items)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` on a worker; return the future of its outcome.

        If every place in the queue is taken, this waits for one. In a worker of this pool it runs the call
        at once instead, because the workers could be waiting for each other.

        Raises:
            QueueFull: every place is taken, and this thread runs an event loop, which must not wait.
            PoolClosed: after `shutdown` began, or when too many threads are stuck in calls that timed out.
            BrokenThreadPool: after the initializer failed.
        """
        task = Task(fn, args, kwargs, self._crew.books.cancels)
        self._crew.submit(task)
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the stdlib
        """Take no more work; may be called again.

        What waits still runs, unless `cancel_futures`. With `wait`, this returns when all threads have ended,
        except those that are stuck in a call that timed out.
        """
        self._shutdown = True
        self._crew.close(cancel=cancel_futures)
        if wait:
            self._crew.join()

    def with_options(self, *, timeout: Seconds | None = None, priority: int = 0) -> PoolView:
        """Return an executor that submits to this pool, with options for each call.

        Args:
            timeout: how long the call may run. Then its future fails with TaskTimeout, and another thread
                takes the place of the one that is stuck, which leaves when the call returns: a thread
                cannot be interrupted. At most `max_workers` threads may be stuck so; one more, and the pool
                takes no more work and fails what waits with PoolClosed.
            priority: higher runs sooner; a minute of waiting makes up for one level.

        Raises:
            ValueError: timeout is not above 0, or priority is no whole number.
        """
        return PoolView(self, self._crew, Options(timeout, priority))

    def stats(self) -> PoolStats:
        """Return what the pool has counted so far; the counts add up, also while it works."""
        return self._crew.stats()

    @property
    def idle(self) -> int:
        """How many workers could take a call right now, counting those that would be hired for it."""
        stats = self.stats()
        return max(0, self._max_workers - stats.running - stats.waiting)
