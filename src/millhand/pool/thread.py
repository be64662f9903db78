"""The pool of threads that takes the place of `concurrent.futures.ThreadPoolExecutor`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from millhand.core.clock import Seconds
from millhand.policy.rank import DEFAULT_AGEING
from millhand.policy.scaling import Scaling
from millhand.pool.crew import Crew
from millhand.pool.current import bare_inside
from millhand.pool.options import NO_OPTIONS, Settings, WhenFull
from millhand.pool.order import OrderName
from millhand.pool.staffed import CrewPool


class ThreadPool(CrewPool, ThreadPoolExecutor):
    """This runs calls on threads: a `ThreadPoolExecutor` with a bounded queue, timeouts, priorities and stats.

    Threads are started when needed, idle ones are used first. A context (contextvars) is copied at each
    submit. Shutdown, the end of the interpreter and garbage collection of the pool work as in the standard
    library: what was submitted still runs. One difference: a `with` body that is left by an exception, Ctrl-C
    and sys.exit included, cancels what waits, gives what runs a second, and lets the program go on or end.

    Args:
        max_workers: how many calls run at once; None: as the standard library chooses. Two numbers, as (2, 32):
            as many between them as the load is worth (see `millhand.policy.scaling`).
        thread_name_prefix: the threads are called `<prefix>_<number>`.
        initializer: called first in each thread; if it raises, the pool is broken.
        initargs: its arguments.
        queue_size: how many calls may wait for a worker; 0: a call is taken only if a worker is free for it;
            None: as many as fit in memory.
        when_full: what `submit` does when every place is taken. "block" waits for one, "reject" raises QueueFull,
            "caller_runs" runs the call in the submitting thread, "drop_oldest", "drop_newest" and "drop_lowest"
            make room: the future of the call that was submitted first, of this one, or of the one that would
            run last, raises TaskDropped.
        submit_timeout: how long "block" waits before it raises QueueFull; None: as long as it takes.
        order: "fifo": by priority with ageing, equals first come, first served; "lifo": the highest priority,
            then the newest, first; "fair": the keys take turns, within a key as "fifo".
        ageing: how long a call must wait to make up for one level of priority; None: priorities are strict.
        total_timeout: when all calls of this pool must have ended, counted from now.
        idle_timeout: for an elastic pool, for how long fewer workers must have been enough before it shrinks.
        copy_context: whether a call sees the submitter's contextvars; without, it shares its worker's, as in the
            standard library.

    Raises:
        ValueError: an argument is not what it should be; the message says which.
        TypeError: initializer cannot be called.
    """

    def __init__(  # noqa: PLR0913 - the standard library's four, and what makes the difference, each by its name
        self,
        max_workers: int | tuple[int, int] | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        queue_size: int | None = 100_000,
        when_full: WhenFull = "block",
        submit_timeout: Seconds | None = None,
        order: OrderName = "fifo",
        ageing: Seconds | None = DEFAULT_AGEING,
        total_timeout: Seconds | None = None,
        idle_timeout: Seconds = 10.0,
        copy_context: bool = True,
    ) -> None:
        elastic = Scaling(*max_workers, idle_timeout) if isinstance(max_workers, tuple) else None
        size = max_workers[1] if isinstance(max_workers, tuple) else max_workers
        ThreadPoolExecutor.__init__(self, size, thread_name_prefix, initializer, initargs)
        name = self._thread_name_prefix or ""  # the standard library has chosen one, if there was none
        settings = Settings(
            queue_size=queue_size,
            when_full=when_full,
            submit_timeout=submit_timeout,
            total_timeout=total_timeout,
            order=order,
            ageing=ageing,
            copy_context=copy_context,
        )
        initialize = partial(initializer, *initargs) if initializer else None
        self._crew = Crew(self, self._max_workers, name, settings, initialize)
        self._begin_scaling(elastic, idle_timeout)
        if not copy_context:
            self._copy_context = bare_inside
        if total_timeout is not None:
            self._options = NO_OPTIONS
        # Programs look at these two, as len(pool._threads) or pool._work_queue.qsize(): they show the real ones.
        self._threads = self._crew.threads
        self._work_queue = cast("Any", self._crew.items)

    def _close(self, *, cancel: bool) -> None:
        self._shutdown = True  # where the standard library keeps and shows it
        super()._close(cancel=cancel)
