"""The pool of coroutines: async functions, a bounded number at once, on a loop of its own or on the running one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Iterator
from contextvars import Context
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, Self, TypeVar

from millhand.core.clock import Seconds
from millhand.policy.breaker import Breaker
from millhand.policy.bulkhead import Bulkhead
from millhand.policy.rank import DEFAULT_AGEING
from millhand.policy.rate import Adaptive, RateLimit
from millhand.policy.retry import Retry
from millhand.pool.future import Future
from millhand.pool.loop_crew import LoopCrew
from millhand.pool.options import NO_OPTIONS, Options, Settings, WhenFull, WhenLimited, check_size
from millhand.pool.order import OrderName
from millhand.pool.pool import Doors, Group, PoolView
from millhand.pool.staffed import GRACE, StaffedPool

if TYPE_CHECKING:
    from millhand.pool.async_map import AsyncMap

P = ParamSpec("P")
T = TypeVar("T")

_numbers = count()


class CoroutineDoors(Doors):
    """This is where async functions come in: what is promised of one is what it returns when it is awaited.

    So to a type checker these doors are narrower than those of other executors, which may be given any function.
    """

    if TYPE_CHECKING:

        def submit(  # type: ignore[override]  # narrower, as said above
            self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> Future[T]:
            """Run the coroutine of `fn(*args, **kwargs)`; TypeError if fn is no async function; else as any pool."""
            ...

        def map(  # type: ignore[override]  # narrower, as said above
            self,
            fn: Callable[..., Coroutine[Any, Any, T]],
            /,
            *iterables: Iterable[Any],
            timeout: Seconds | None = None,
            chunksize: int = 1,
            buffersize: int | None = None,
            ordered: bool = True,
            progress: bool = False,
        ) -> Iterator[T]:
            """Run it on the items of a source."""
            ...

        def run(  # type: ignore[override]  # narrower, as said above
            self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> asyncio.Future[T]:
            """Run it as `submit` does, for asyncio."""
            ...

        def amap(  # type: ignore[override]  # narrower, as said above
            self,
            fn: Callable[..., Coroutine[Any, Any, T]],
            /,
            *iterables: Iterable[Any] | AsyncIterable[Any],
            buffersize: int | None = None,
            ordered: bool = True,
        ) -> AsyncMap[T]:
            """Run it on the items of a source, for asyncio."""
            ...

        def with_options(  # noqa: PLR0913 - as those of any pool
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
        ) -> CoroutineView:
            """Return an executor that submits here, with options for each call."""
            ...

    def group(self, *, total_timeout: Seconds | None = None) -> CoroutineGroup:
        """Return a group, as any pool does."""
        return CoroutineGroup(self, total_timeout)

    def _bind(self, options: Options) -> CoroutineView:
        return CoroutineView(self, options)


class CoroutineView(CoroutineDoors, PoolView):
    """This is a pool of coroutines with options bound; see PoolView."""


class CoroutineGroup(CoroutineDoors, Group):
    """This is a set of coroutines that are over when its body is left; see `pool.group` for what that means."""


class CoroutinePool(CoroutineDoors, StaffedPool):
    """This runs async functions, up to `max_workers` at once, with all that `ThreadPool` has for threads.

    They run on a loop of the pool's own, in one thread that the first `submit` starts, so any program can use it:

        with CoroutinePool(50) as pool:
            pages = [pool.submit(fetch, url) for url in urls]

    or on the loop that runs already, where they can use what is bound to that loop:

        async with CoroutinePool(50) as pool:
            async for page in pool.amap(fetch, urls): ...

    `future.cancel(running=True)`, a timeout, and whatever else stops a call, cancels the coroutine. A call that
    timed out and is still there a tenth of a second later has its place written off and given to another one.
    A future is awaited on the pool's loop, never waited for: `result()` there raises RuntimeError. While a call
    awaits another one of its own pool, its place is lent, so calls may await each other to any depth.

    Shutdown, the end of the interpreter and garbage collection work as with ThreadPool: what was submitted still
    runs. A body that is left by an exception cancels what waits and what runs, and waits a second for that.

    Args:
        max_workers: how many calls run at once.
        thread_name_prefix: the loop's thread is called so.
        queue_size: how many calls may wait; 0: a call is taken only if there is room to run it; None: no bound.
        when_full: what `submit` does when every place is taken, as with ThreadPool. "caller_runs": the call runs on
            the loop at once, beyond `max_workers`, and the submitter waits until it has ended.
        submit_timeout: how long "block" waits before it raises QueueFull; None: as long as it takes.
        order: "fifo", "lifo" or "fair", as with ThreadPool.
        ageing: how long a call must wait to make up for one level of priority; None: priorities are strict.
        total_timeout: when all calls of this pool must have ended, counted from now.
        copy_context: whether a call sees the submitter's contextvars; without, it starts with empty ones.

    Raises:
        ValueError: an argument is not what it should be; the message says which.
    """

    _crew: LoopCrew

    def __init__(  # noqa: PLR0913 - ThreadPool's, each by its name
        self,
        max_workers: int = 100,
        thread_name_prefix: str = "",
        *,
        queue_size: int | None = 100_000,
        when_full: WhenFull = "block",
        submit_timeout: Seconds | None = None,
        order: OrderName = "fifo",
        ageing: Seconds | None = DEFAULT_AGEING,
        total_timeout: Seconds | None = None,
        copy_context: bool = True,
    ) -> None:
        check_size(max_workers)
        name = thread_name_prefix or f"CoroutinePool-{next(_numbers)}"
        settings = Settings(
            queue_size=queue_size,
            when_full=when_full,
            submit_timeout=submit_timeout,
            total_timeout=total_timeout,
            order=order,
            ageing=ageing,
        )
        self._crew = LoopCrew(self, max_workers, name, settings)
        if not copy_context:
            self._copy_context = Context
        if total_timeout is not None:
            self._options = NO_OPTIONS

    def subpool(self, max_workers: int, **settings: Any) -> NoReturn:
        """Raise TypeError: what a sub-pool borrows are threads."""
        raise TypeError(
            "a sub-pool borrows threads, and a CoroutinePool has none: make another CoroutinePool for it, "
            "which on the running loop (`async with`) costs no thread either"
        )

    def _leave_soon(self) -> None:
        self._cancel_all()
        self._join_or_abandon()

    def _cancel_all(self) -> None:
        self._crew.close(cancel=True)
        self._crew.cancel_running()

    async def __aenter__(self) -> Self:
        self._crew.attach()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is None:
            self._crew.close(cancel=False)
            try:
                await self._crew.join_here()
            except BaseException:  # cancelled while it waited for what was submitted
                self._cancel_all()
                await self._crew.join_here(GRACE)
                raise
            return False
        self._cancel_all()
        await self._crew.join_here(GRACE)
        return False
