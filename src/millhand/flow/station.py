"""One stage of a pipeline at work: what waits there, who works at it, and what was counted.

A slot is one item on its way. It goes from station to station without the consumer's thread, which costs a fraction
of a `submit`: a station in a pool of threads is worked at by *errands*, calls that take one slot after the other and
give each to the next station. Where calls have limits of their own, or are not a thread's, each slot is
submitted by itself, by the consumer: so no worker ever waits for a place in another pool.

Races:
    Who gives a slot against an errand that finds none. Who gives adds the slot, then looks whether the station is
    hungry; an errand strikes itself off, which makes it hungry, then looks for slots. So at least one of them sees
    the other.
    Who gives a slot against an errand that starts. While one starts, nobody sends another one; it has started, then
    looks for slots, and sends the next one if it finds any beside its own.
    A run that stops against an errand that has just taken a slot: the errand looks whether it is to stop after taking.

Locks:
    `_counting`, of each station: how many errands are under way, and the sums. Nothing is called under it.
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
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import QueueFull
from millhand.pool import current_task

if TYPE_CHECKING:
    import asyncio

    from millhand.pool import Pool, PoolView, Task, ThreadPool

TURN: Seconds = 0.005
"""How long an errand works in a pool that others may use, too, before it queues again."""

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


class Errand:
    """This is one call that works at a station; only its own thread writes the counts."""

    __slots__ = ("began", "failed", "passed")

    def __init__(self) -> None:
        self.began: Instant | None = None
        self.passed = self.failed = 0


class ThreadStation(Station):
    """This is a stage whose slots are taken by errands, in a pool of threads.

    Args:
        pool: whose threads.
        shared: whether others may use it, too.
    """

    def __init__(
        self, name: str, fn: Callable[[Any], Any], limit: int, belt: Belt, *, pool: ThreadPool, shared: bool
    ) -> None:
        super().__init__(name, fn, limit, belt)
        self._pool, self._shared = pool, shared
        self._at_once = pool.with_options(when_full="reject")
        self._errands: set[Errand] = set()
        self._under_way = 0
        self._starting = False
        """One was sent and has not looked for slots yet."""

    def feed(self) -> None:
        """Send an errand, if there may be one more."""
        self._send()

    def attend(self) -> None:
        """Send an errand that has to wait for its place in the pool, if nobody is here to do what waits."""
        self._send(patiently=True)

    def stats(self, received: int) -> StageStats:
        """Return one look at it, errands that are under way included."""
        with self._counting:
            at_work = tuple(self._errands)
            passed, failed, busy = self._passed, self._failed, self._busy
        now = monotonic()
        return StageStats(
            name=self.name,
            received=received,
            passed=passed + sum(errand.passed for errand in at_work),
            failed=failed + sum(errand.failed for errand in at_work),
            waiting=len(self._inbox),
            running=len(at_work),
            busy=busy + sum(now - (errand.began or now) for errand in at_work),
        )

    def _send(self, *, patiently: bool = False) -> None:
        limit = 1 if patiently else self._limit
        with self._counting:
            if self._starting or self._under_way >= limit or not self._inbox or self._belt.stopped:
                return
            self._starting, self.hungry = True, False
            self._under_way += 1
        errand = Errand()
        try:
            submit = partial(self._belt.call, self._pool) if patiently else self._at_once.submit
            call = submit(self._work, errand)
        except Exception as error:  # noqa: BLE001 - what waits fails with it, if nobody else comes
            self._lose(error, retry=not patiently)
        else:
            self.calls.add(call)
            call.add_done_callback(partial(self._note_end, errand))

    def _note_end(self, errand: Errand, call: Call) -> None:
        self.calls.discard(call)
        if errand.began is None:  # its pool has dropped or cancelled it, or has failed
            self._lose(error_of(call), retry=False)

    def _lose(self, error: BaseException | None, *, retry: bool) -> None:
        """Note that an errand will not come; what waits is for the others, if there are any."""
        with self._counting:
            self._starting, self.hungry = False, True
            self._under_way -= 1
            alone = not self._under_way
        if alone and retry and isinstance(error, QueueFull):
            self._belt.ask(self)
        elif alone:
            self._fail_waiting(error or RuntimeError("a pool has ended a call that never began"))

    # In a worker.

    def _work(self, errand: Errand) -> None:
        """Take one slot after the other."""
        errand.began = monotonic()
        # By itself, too: Ctrl-C may have struck whoever submitted it before he could.
        self.calls.add(cast("Task", current_task()))
        with self._counting:
            self._errands.add(errand)
            self._starting = False
            self.hungry = self._under_way < self._limit  # then look for slots: see Races
        if len(self._inbox) > 1:
            self._send()
        pull, fn, belt, shared = self._inbox.popleft, self._fn, self._belt, self._shared
        following, take = self.following, self.following.take
        turn_ends = errand.began + TURN
        while True:
            try:
                slot = pull()
            except IndexError:
                if self._go_home(errand):
                    return
                continue
            if belt.stopped:
                continue
            try:
                slot[VALUE] = fn(slot[VALUE])
            except BaseException as error:  # noqa: BLE001 - the edge of a worker: the consumer gets it, whatever it is
                errand.failed += 1
                belt.fail(slot, self.name, error)
            else:
                errand.passed += 1
                take(slot)
                if following.hungry:  # only after it was taken in: see Races
                    following.feed()
            slot = None  # type: ignore[assignment]  # nothing here may hold it while the next one is made
            if shared and monotonic() > turn_ends:
                if self._hand_over(errand):
                    return
                turn_ends = monotonic() + TURN

    def _go_home(self, errand: Errand) -> bool:
        """Strike off an errand that has found nothing; False if it is to go on, since something has come."""
        with self._counting:
            self._under_way -= 1
            self.hungry = not self._starting  # then look for slots: see Races
            if self._inbox and self._under_way < self._limit:
                self._under_way += 1
                self.hungry = self.hungry and self._under_way < self._limit
                return False
            self._settle(errand)
        return True

    def _hand_over(self, errand: Errand) -> bool:
        """Queue again behind others who wait for the worker; False if the pool has no place for that."""
        successor = Errand()
        try:
            call = self._at_once.submit(self._work, successor)
        except (QueueFull, RuntimeError):  # it is full, or takes no more work: this errand is in it already
            return False
        with self._counting:
            self._settle(errand)
        self.calls.add(call)
        call.add_done_callback(partial(self._note_end, successor))
        return True

    def _settle(self, errand: Errand) -> None:
        """Add up what an errand has counted. Under the lock."""
        self._errands.discard(errand)
        self._passed += errand.passed
        self._failed += errand.failed
        self._busy += monotonic() - (errand.began or 0.0)


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
