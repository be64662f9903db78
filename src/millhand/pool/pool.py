"""What all pools have in common for those who use them: the doors, and options bound to them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from typing import Any, ParamSpec, TypeVar

from millhand.core.clock import Seconds
from millhand.pool.admission import Admission
from millhand.pool.future import Future
from millhand.pool.options import Options, WhenFull
from millhand.pool.stats import PoolStats
from millhand.pool.task import Task

P = ParamSpec("P")
T = TypeVar("T")


class Doors(Executor):
    """This is where calls come in, of a pool and of every view of it."""

    _crew: Admission
    _options: Options | None = None
    _copy_context: Callable[[], Context] = staticmethod(copy_context)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` on a worker; return the future of its outcome.

        If every place in the queue is taken, this does what `when_full` says: by default it waits for one. In a
        worker of this pool it runs the call at once instead, because the workers could be waiting for each other.

        Raises:
            QueueFull: every place is taken, and this is not to wait, or has waited for `submit_timeout`, or
                must not wait because this thread runs an event loop.
            PoolClosed: after `shutdown` began, or when too many threads are stuck in calls that timed out.
            BrokenThreadPool: after the initializer failed.
        """
        crew = self._crew
        task = Task(fn, args, kwargs, crew, self._copy_context(), self._options)
        crew.submit(task)
        return task


class PoolView(Doors):
    """This is a pool with options bound: what is submitted here runs there, under these options.

    It is the same pool: its workers, its queue and its end are shared, and `shutdown` shuts the pool down.
    """

    def __init__(self, pool: Doors, options: Options) -> None:
        self._pool, self._options = pool, options
        self._crew, self._copy_context = pool._crew, pool._copy_context  # noqa: SLF001 - a view is a part of its pool

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the stdlib
        """Shut the pool down."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


class Pool(Doors):
    """This is what every kind of pool can do."""

    def with_options(  # noqa: PLR0913 - these are the options; each goes by its name
        self,
        *,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
        priority: int = 0,
        key: Any = None,
        interrupt: bool = False,
        when_full: WhenFull | None = None,
        submit_timeout: Seconds | None = None,
    ) -> PoolView:
        """Return an executor that submits to this pool, with options for each call.

        Args:
            timeout: how long the call may run. Then its future fails with TaskTimeout, and another thread
                takes the place of the one that is stuck, which leaves when the call returns: a thread
                cannot be interrupted. At most `max_workers` threads may be stuck so; one more, and the pool
                takes no more work and fails what waits with PoolClosed.
            total_timeout: how long the call may wait and run together, from its submission.
            priority: higher runs sooner; a minute of waiting (the pool's `ageing`) makes up for one level.
            key: whom the call is for, in a pool with `order="fair"`: keys take turns.
            interrupt: when the call runs over a limit, or is cancelled while it runs, raise Interrupted in it:
                between two bytecodes, so not while it is inside of C code.
            when_full: what to do when every place is taken, in place of what the pool does.
            submit_timeout: how long to wait for a place, with "block".

        Raises:
            ValueError: an option is not what it should be; the message says which.
        """
        return PoolView(
            self,
            Options(
                timeout=timeout,
                total_timeout=total_timeout,
                priority=priority,
                key=key,
                interrupt=interrupt,
                when_full=when_full,
                submit_timeout=submit_timeout,
            ),
        )

    def stats(self) -> PoolStats:
        """Return what the pool has counted so far; the counts add up, also while it works."""
        return self._crew.stats()
