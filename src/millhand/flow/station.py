"""One stage of a pipeline at work: what waits there, what was counted, and how items are handed to a pool one by one.

A slot is one item on its way. In a pool of threads a station has it done at less than the cost of a `submit`
(`errands`). Where calls have limits of their own, or are not a thread's, each slot is submitted by itself, by the
consumer: so no worker ever waits for a place in another pool.

Locks:
    `_counting`, of each station: how many calls are under way, and the sums. Nothing is called under it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from millhand.core.clock import Seconds

if TYPE_CHECKING:
    import asyncio

    from millhand.pool import Pool, PoolView

Slot: TypeAlias = list[Any]
"""One item: the value that it is by now, its index in the source, and how it ended (None: it has not).

A list, because an object with these three takes 150 ns longer to make.
"""
VALUE, INDEX, END = range(3)

Call: TypeAlias = "Future[Any] | asyncio.Future[Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStats:
    """This is one look at a stage; at rest, after a run that was not stopped, received = passed + failed."""

    name: str
    received: int
    """Items that came in."""
    passed: int
    """Items that went on to the next stage, or to the consumer."""
    failed: int
    waiting: int
    """Items that came in and that nobody has begun, or handed to a pool."""
    running: int
    """Calls that run; in a pool that is not a ThreadPool, also those that wait there for their turn."""
    busy: Seconds
    """What the calls have taken, all together; in a pool that is not a ThreadPool, only those that returned."""


class Taker(Protocol):
    """What a slot is given to; two steps, so that the first is one C call where it can be."""

    @property
    def take(self) -> Callable[[Slot], None]:
        """Takes a slot in; from any thread. Never blocks, never raises."""

    @property
    def hungry(self) -> bool:
        """Whether `feed` is to be called after a slot was taken in."""

    def feed(self) -> None:
        """See to it that somebody comes for what was taken in; from any thread. Never blocks, never raises."""


class Belt(Protocol):
    """What a station asks of the run that it is part of."""

    stopped: bool

    def call(self, pool: Any, fn: Callable[..., Any], *args: Any) -> Call:
        """Submit, in the consumer's thread."""

    def ask(self, station: Station) -> None:
        """Have the consumer call `attend` soon; from any thread."""

    def fail(self, slot: Slot, stage: str, error: BaseException) -> None:
        """Take a slot off, with what was raised at a stage."""


class Station(ABC):
    """This is one stage in one run.

    Args:
        name: the stage's.
        fn: called with each value.
        limit: how many calls may be under way.
        belt: what it is a part of.
    """

    following: Taker
    """Takes what has passed."""
    hungry: bool = True
    """As a Taker's."""

    def __init__(self, name: str, fn: Callable[[Any], Any], limit: int, belt: Belt) -> None:
        self.name, self._fn, self._limit, self._belt = name, fn, limit, belt
        self._inbox: deque[Slot] = deque()
        self.take = self._inbox.append
        self._counting = threading.Lock()
        self.calls: set[Call] = set()
        """Those under way."""
        self._passed = self._failed = 0
        self._busy: Seconds = 0.0

    @abstractmethod
    def feed(self) -> None:
        """Do as a Taker does."""

    @abstractmethod
    def attend(self) -> None:
        """Do what only the consumer may do: wait for a place in a pool."""

    @abstractmethod
    def stats(self, received: int) -> StageStats:
        """Return one look at it."""

    def stop(self) -> None:
        """Forget what waits, and ask what runs to stop; the belt has stopped."""
        self._inbox.clear()
        for call in tuple(self.calls):
            stop_call(call)

    def _fail_waiting(self, error: BaseException) -> None:
        """Fail what waits here, since nobody will come for it."""
        while self._inbox:
            slot = self._inbox.popleft()
            with self._counting:
                self._failed += 1
            self._belt.fail(slot, self.name, error)


class PoolStation(Station):
    """This is a stage whose slots are submitted one by one, to whatever pool.

    Args:
        pool: to which.
    """

    def __init__(self, name: str, fn: Callable[[Any], Any], limit: int, belt: Belt, *, pool: Pool | PoolView) -> None:
        super().__init__(name, fn, limit, belt)
        self._pool = pool
        self._timed = timed_async if is_async(fn) else timed

    def feed(self) -> None:
        """Have the consumer submit what waits."""
        self._belt.ask(self)

    def attend(self) -> None:
        """Submit what waits, as far as the limit allows."""
        while self._inbox and len(self.calls) < self._limit:
            slot = self._inbox.popleft()
            try:
                call = self._belt.call(self._pool, self._timed, self._fn, slot[VALUE])
            except Exception as error:  # noqa: BLE001 - it is this item's; the belt names both
                self._fail(slot, error)
            else:
                self.calls.add(call)
                call.add_done_callback(partial(self._end, slot))

    def stats(self, received: int) -> StageStats:
        """Return one look at it."""
        with self._counting:
            passed, failed, busy = self._passed, self._failed, self._busy
        return StageStats(
            name=self.name,
            received=received,
            passed=passed,
            failed=failed,
            waiting=len(self._inbox),
            running=len(self.calls),
            busy=busy,
        )

    def _end(self, slot: Slot, call: Call) -> None:
        self.calls.discard(call)
        error = error_of(call)
        if error is not None:
            self._fail(slot, error)
        else:
            seconds, slot[VALUE] = call.result()
            with self._counting:
                self._passed += 1
                self._busy += seconds
            if not self._belt.stopped:
                self.following.take(slot)
                self.following.feed()
        if self._inbox:  # only after the discard: the consumer has left it there because of the limit
            self._belt.ask(self)

    def _fail(self, slot: Slot, error: BaseException) -> None:
        with self._counting:
            self._failed += 1
        self._belt.fail(slot, self.name, error)


def timed(fn: Callable[[Any], Any], value: Any) -> Any:
    """Call a function where it is to run, maybe in another process; return the seconds that it took, and its value."""
    began = monotonic()
    result = fn(value)
    return monotonic() - began, result


async def timed_async(fn: Callable[[Any], Awaitable[Any]], value: Any) -> Any:
    """Do the same with an async function."""
    began = monotonic()
    result = await fn(value)
    return monotonic() - began, result


def is_async(fn: Callable[..., Any]) -> bool:
    """Return whether a function is an async one, or an object that is called like one."""
    return iscoroutinefunction(fn) or iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - not whether it has one


def error_of(call: Call) -> BaseException | None:
    """Return why an ended call has no result, None if it has."""
    try:
        return call.exception()
    except BaseException as cancelled:  # noqa: BLE001 - asyncio's and the futures' are two, one no Exception
        return cancelled


def stop_call(call: Call) -> None:
    """Cancel a call, also while it runs."""
    if isinstance(call, Future):
        call.cancel(running=True)  # type: ignore[call-arg]  # it is one of ours
    else:
        call.cancel()


def check_count(name: str, value: object) -> None:
    """Raise ValueError unless it is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
