"""What all pools have in common for those who use them: the doors, and options bound to them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from millhand.core.clock import Seconds
from millhand.policy.breaker import Breaker
from millhand.policy.bulkhead import Bulkhead
from millhand.policy.rank import DEFAULT_AGEING
from millhand.policy.rate import Adaptive, RateLimit
from millhand.policy.retry import Retry
from millhand.pool import mapping
from millhand.pool.admission import Admission
from millhand.pool.future import Future
from millhand.pool.group import Structure
from millhand.pool.lane import Lane
from millhand.pool.listeners import Listener
from millhand.pool.options import NO_OPTIONS, Options, Settings, WhenFull, WhenLimited, check_size
from millhand.pool.order import OrderName
from millhand.pool.source import Plan, Site
from millhand.pool.stats import PoolStats
from millhand.pool.task import Task
from millhand.pool.terms import FOREVER

if TYPE_CHECKING:
    import asyncio

    from millhand.pool.async_map import AsyncMap

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

    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: Seconds | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> Generator[T, None, None]:
        """Run `fn` on the items of a source: `for value in pool.map(fn, items)`.

        The work begins at once. The source may be endless: it is read, in the thread that takes the results, only
        as far as there is room. An error is raised where its item stands, one of the source behind all results;
        then, and when the iterator is closed or dropped, the rest is cancelled: what waits never runs, what runs
        is asked to stop (`check_cancelled`). An iterator that was never advanced cancels nothing, as in the
        standard library.

        A no-op item costs a tenth of what it does there: there is no future per item. Options that a call must
        have for itself, such as a timeout, cost that of a `submit`.

        Args:
            fn: called with one item, or with one of each iterable, until the shortest ends.
            iterables: the source.
            timeout: how long from now until a result must be there; it raises TimeoutError when it is taken.
            chunksize: has no effect, as in the standard library's thread pool.
            buffersize: how many items may wait, run, or have results that were not taken; None: as many as may
                wait in the pool (`queue_size`).
            ordered: whether results come in the order of their items, or as calls end.
            progress: draw a bar on stderr.

        Raises:
            ValueError: buffersize is less than 1.
            TypeError: buffersize is no whole number.
            PoolClosed: after `shutdown`, also behind the results of the items that were read before it.
            ImportError: progress needs rich or tqdm.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize must be >= 1, though it has no effect, got {chunksize!r}")
        plain = getattr(self.submit, "__func__", None) is Doors.submit
        site = Site(self, self._crew, self._options or NO_OPTIONS, self._copy_context(), plain)
        plan = Plan(timeout=timeout, buffersize=buffersize, ordered=ordered, progress=progress)
        return mapping.start(site, fn, iterables, plan)

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run `fn(*args, **kwargs)` on a worker, for asyncio: `value = await pool.run(fn, x)`.

        The call is submitted at once, also if nobody awaits it. The loop is never blocked: if every place in the
        queue is taken, the call waits for one, in order, with `when_full="caller_runs"` as with "block". What
        `submit` would raise, the await raises. To cancel what this returns is to cancel the call, also while it
        runs, as far as it can be (`Future.cancel`).

        Raises:
            RuntimeError: no asyncio loop runs in this thread.
        """
        from millhand.pool import bridge  # noqa: PLC0415 - it needs asyncio: see running_loop

        mailbox, crew = bridge.mailbox_here(), self._crew
        return bridge.run(
            bridge.AwaitedTask(fn, args, kwargs, crew, self._copy_context(), self._options), crew, mailbox
        )

    def amap(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> AsyncMap[T]:
        """Run `fn` on the items of a source, for asyncio: `async for value in pool.amap(fn, items)`.

        The source is one async iterable, or iterables that are zipped as by `map`. It may be endless: it is
        read, in the task that iterates, only as far as there is room for calls that run or whose values wait to
        be taken. The loop is never blocked, and gets its turn every millisecond. An error is raised where its
        item stands; then, and when the iterator is closed or dropped, the rest is cancelled: what waits never
        runs, what runs is asked to stop.

        Args:
            fn: called with one item, or with one of each iterable.
            iterables: the source.
            buffersize: how many calls may wait, run, or have values that were not taken; None: a hundred or
                so, and at least twice as many as the pool has workers.
            ordered: whether values come in the order of their items, or as calls end.

        Raises:
            ValueError: buffersize is less than 1.
            TypeError: an async iterable stands beside others, or buffersize is no whole number.
            RuntimeError: no asyncio loop runs in this thread.
        """
        from millhand.pool import async_map  # noqa: PLC0415 - it needs asyncio: see running_loop

        crew, options, context = self._crew, self._options, self._copy_context

        def make(arguments: tuple[Any, ...]) -> async_map.Arrival:
            return async_map.Arrival(fn, arguments, {}, crew, context(), options)

        return async_map.AsyncMap(make, crew, iterables, buffersize, ordered=ordered)

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
        retry: Retry | None = None,
        rate: RateLimit | Adaptive | None = None,
        breaker: Breaker | None = None,
        bulkhead: Bulkhead | None = None,
        when_limited: WhenLimited = "wait",
    ) -> PoolView:
        """Return an executor that submits here, with options for each call, in place of any that are bound already.

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
            retry: what follows an attempt that failed. The call waits for the next one without a worker.
            rate, breaker, bulkhead: what a call must pass before it runs, at each attempt anew. Equal ones are one
                limit for the whole pool, with one state for each `key`.
            when_limited: "wait": a call for which the rate or the bulkhead has no room waits, without a worker;
                "refuse": its future raises RateLimited or QueueFull. An open breaker always refuses (CircuitOpen).

        Raises:
            ValueError: an option is not what it should be; the message says which.
        """
        return self._bind(
            Options(
                timeout=timeout,
                total_timeout=total_timeout,
                priority=priority,
                key=key,
                interrupt=interrupt,
                when_full=when_full,
                submit_timeout=submit_timeout,
                retry=retry,
                rate=rate,
                breaker=breaker,
                bulkhead=bulkhead,
                when_limited=when_limited,
            )
        )

    def group(self, *, total_timeout: Seconds | None = None) -> Group:
        """Return a group: an executor for a `with` or `async with` body, whose calls are over when that is left.

        The first call that fails cancels the others, and leaving raises an ExceptionGroup of what was raised. In
        an `async with`, the body is cancelled, too. A group that is made in a running call, or by `group.group()`,
        is cancelled with that. Cancelling reaches threads as `Future.cancel(running=True)` does: they are waited
        for until they notice.

        Args:
            total_timeout: when all of the group must have ended, counted from entering it. Then what waits or
                runs fails with TaskTimeout; a thread that is stuck is written off, as with `timeout`.

        Raises:
            ValueError: total_timeout is no number of seconds above 0.
        """
        return Group(self, total_timeout)

    def _bind(self, options: Options) -> PoolView:
        return PoolView(self, options)


class PoolView(Doors):
    """This is a pool with options bound: what is submitted here runs there, under these options.

    It is the same pool: its workers, its queue and its end are shared, and `shutdown` shuts the pool down.
    """

    def __init__(self, pool: Doors, options: Options) -> None:
        # ruff: noqa: SLF001 - a view is a part of its pool
        bound = pool._options or options
        self._pool, self._options = pool, replace(options, scope=bound.scope, deadline=bound.deadline)
        self._crew, self._copy_context = pool._crew, pool._copy_context

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the stdlib
        """Shut the pool down."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


class Pool(Doors):
    """This is what every kind of pool can do."""

    _lane: type[Lane] = Lane
    """The front of its sub-pools."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(event)` for each event from now on, in the thread where it happens; return what ends that.

        The events are those of `millhand.core.events`. A listener should be quick: a worker waits for it. What it
        raises is logged. Of a `map` that is under way already, nothing is told.
        """
        crew = self._crew
        crew.listen(listener)
        return partial(crew.forget, listener)

    def stats(self) -> PoolStats:
        """Return what the pool has counted so far; the counts add up, also while it works."""
        return self._crew.stats()

    @property
    def idle(self) -> int:
        """How many calls could start right now, counting workers that would be hired for them."""
        stats = self.stats()
        return max(0, self._crew.size - stats.running - max(0, stats.waiting - self._crew.line.parked))

    def resize(self, max_workers: int) -> None:
        """Change how many calls may run at once.

        Growth takes effect before the next call is started; shrinking never interrupts a running call, so the
        pool may stay above `max_workers` until those calls end.

        Raises:
            ValueError: max_workers is less than 1.
        """
        check_size(max_workers)
        self._crew.resize(max_workers)

    def drain(self, timeout: Seconds | None = None) -> bool:
        """Take no more work and finish what there is; return whether all of it ended within `timeout`."""
        self._close(cancel=False)
        return self._crew.join(timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the stdlib
        """Take no more work; may be called again. A sub-pool's parent goes on.

        What waits still runs, unless `cancel_futures`. With `wait`, this returns when all calls have ended, and all
        threads of the pool's own, except those that were written off.

        Raises:
            RuntimeError: with `wait`, in a call of this pool, or on its loop, which would wait for themselves.
        """
        self._close(cancel=cancel_futures)
        if wait:
            self._crew.join()

    def _close(self, *, cancel: bool) -> None:
        self._crew.close(cancel=cancel)

    def subpool(  # noqa: PLR0913 - one number, and the settings of any pool, each by its name
        self,
        max_workers: int,
        *,
        queue_size: int | None = 100_000,
        when_full: WhenFull = "block",
        submit_timeout: Seconds | None = None,
        order: OrderName = "fifo",
        ageing: Seconds | None = DEFAULT_AGEING,
        total_timeout: Seconds | None = None,
    ) -> SubPool:
        """Return a pool of its own that borrows at most `max_workers` of this one's workers at a time: a bulkhead.

        Its calls have a queue, an order and counts of their own, and stand among this pool's work as one: with
        this pool's order, neither keeps the other waiting for longer than a turn of 5 ms or one call. It can be
        shut down by itself. When this pool is shut down, it takes no more work, and what it has still runs, or is
        cancelled with `cancel_futures`.

        Args:
            max_workers: how many of its calls run at once; those that wait for others do not count.
            queue_size, when_full, submit_timeout, order, ageing, total_timeout: as those of a pool, for this one.

        Raises:
            ValueError: an argument is not what it should be; the message says which.
        """
        check_size(max_workers)
        settings = Settings(
            queue_size=queue_size,
            when_full=when_full,
            submit_timeout=submit_timeout,
            total_timeout=total_timeout,
            order=order,
            ageing=ageing,
        )
        return SubPool(self, max_workers, settings)


class Group(Structure, Doors):
    """This is a set of calls that are over when its `with` body is left; see `pool.group` for what that means."""

    def __init__(self, pool: Doors, total_timeout: Seconds | None) -> None:
        super().__init__(pool._options, total_timeout)
        self._crew, self._copy_context = pool._crew, pool._copy_context

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the stdlib
        """Let the group take no more calls, as at the end of its body; what they raised is raised there."""
        self.close(cancel=cancel_futures)
        if wait:
            self.join()


class SubPool(Pool):
    """This is a pool that borrows its workers from another one; see `pool.subpool`."""

    def __init__(self, parent: Pool, max_workers: int, settings: Settings) -> None:
        self._parent = parent  # not to be collected before this
        self._crew: Lane = parent._lane(parent, parent._crew, max_workers, settings)
        self._lane = parent._lane
        self._copy_context = parent._copy_context
        if self._crew.deadline < FOREVER:
            self._options = NO_OPTIONS

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)
        return False
