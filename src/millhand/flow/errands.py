"""A stage in a pool of threads, worked at by errands: calls that take one slot after the other.

Each gives what it has done to the next station, without the consumer's thread, which costs a fraction of a `submit`.

Races:
    Who gives a slot against an errand that finds none. Who gives adds the slot, then looks whether the station is
    hungry; an errand strikes itself off, which makes it hungry, then looks for slots. So at least one of them sees
    the other.
    Who gives a slot against an errand that starts. While one starts, nobody sends another one; it has started, then
    looks for slots, and sends the next one if it finds any beside its own.
    A run that stops against an errand that has just taken a slot: the errand looks whether it is to stop after taking.

Locks:
    `_counting`, as in `station`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import QueueFull
from millhand.flow.station import VALUE, Belt, Call, StageStats, Station, error_of
from millhand.pool import current_task

if TYPE_CHECKING:
    from millhand.pool import Task, ThreadPool

TURN: Seconds = 0.005
"""How long an errand works in a pool that others may use, too, before it queues again."""


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
