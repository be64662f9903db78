"""A `map` without a future per item, which costs more than all the rest of a small call.

The items stand in a deque, and carriers (`pool.carrier`) pull them, one at a time.

Races:
    The consumer against the worker that ends an item. The consumer hangs up a bell, then looks whether the item has
    ended; the worker ends the item, then looks for a bell. So at least one of them sees the other. Each bell is
    taken off by one C call and is rung once.

    Who rings may take a moment from the look to the ring, and the bell that hangs there then is the next one: the
    consumer looks again whenever it is woken.
"""

from __future__ import annotations

import _thread
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Executor
from contextlib import suppress
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from millhand.core.clock import Instant
from millhand.core.errors import TaskCancelled
from millhand.pool.carrier import TURN, Carrier, Sender
from millhand.pool.current import here, inside
from millhand.pool.future import CANCELLED, RAISED, RETURNED, End
from millhand.pool.source import Plan, Site, Source
from millhand.pool.stats import QUICK, Tally
from millhand.pool.task import monotonic
from millhand.pool.terms import FOREVER
from millhand.pool.worker import Worker

if TYPE_CHECKING:
    from millhand.pool.crew import Crew

Slot: TypeAlias = list[Any]
"""One item on its way: how it ended (None: it has not), when it was read, and the item, then what came of it.

A list, because an object with these three takes 150 ns longer to make: a tenth of all that an item costs.
"""
END, READ_AT, VALUE = range(3)


class Carried(Sender):
    """This is a map whose items are carried.

    Args:
        site: where.
        fn: called in a worker, in a copy of the context, with an item.
        source: the items.
        plan: how.
        name: the function's.
    """

    def __init__(self, site: Site, fn: Callable[[Any], Any], source: Source, plan: Plan, name: str) -> None:
        crew, worker = site.crew, here.worker
        task = None if worker is None else worker.task
        # A consumer that is a worker does what it waits for itself.
        self._inside = worker is not None and worker.crew is crew.staff
        scope = None if task is None else task.scope_of_children()
        super().__init__(crew, 1, name, options=site.options, scope=scope)
        self._fn, self._source, self._reading = fn, source, iter(source)
        self._door: Executor | None = site.door
        """Not collected before the source is read to its end, and the carriers sent by then are through."""
        self._staff = cast("Crew", crew.staff)
        self._context = site.context.copy if site.context else inside
        self._todo: deque[Slot] = deque()
        self._done: deque[Slot] | None = None if plan.ordered else deque()
        self._bells: list[_thread.LockType] = []
        self._head: Slot | None = None
        """Whose end rings the bell; None: every one's."""
        self._room = plan.room_in(crew)
        self._due: Instant = FOREVER if plan.timeout is None else monotonic() + plan.timeout

    # For the consumer.

    def start(self) -> Generator[Any, None, None]:
        """Have the first items done; return the iterator of results."""
        self.crew.guests.add(self)
        self.fit()
        slots: deque[Slot] = deque()
        try:
            for item in self._reading:
                slots.append(self._add(item))
                if len(slots) >= self._room:
                    break
            else:
                self._door = None
        except BaseException:
            self._stop()
            raise
        return self._in_order(slots) if self._done is None else self._as_completed(self._done, len(slots))

    def _add(self, item: Any) -> Slot:
        slot = [None, monotonic(), item]
        self._todo.append(slot)
        if len(self.carriers) < self.limit:  # only after the append: see "Races" in `carrier`
            self.send_carrier()
        return slot

    def _in_order(self, slots: deque[Slot]) -> Generator[Any, None, None]:
        try:
            while slots:
                slot = slots[0]
                if slot[END] is None:
                    self._head = slot
                    self._wait(lambda: slots[0][END] is not None)
                del slots[0]
                if slot[END] is not RETURNED:
                    _raise(slot[END], slot.pop())
                for item in self._reading:
                    slots.append(self._add(item))
                    break
                else:
                    self._door = None
                yield slot.pop()  # nothing here may hold the result meanwhile
            self._source.raise_verdict()
        except BaseException:
            self._stop()
            raise

    def _as_completed(self, done: deque[Slot], on_the_way: int) -> Generator[Any, None, None]:
        try:
            while on_the_way:
                if not done:
                    self._wait(lambda: bool(done))
                slot = done.popleft()
                on_the_way -= 1
                if slot[END] is not RETURNED:
                    _raise(slot[END], slot.pop())
                for item in self._reading:
                    self._add(item)
                    on_the_way += 1
                    break
                else:
                    self._door = None
                yield slot.pop()
            self._source.raise_verdict()
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._todo.clear()
        for carrier in tuple(self.carriers):
            carrier.cancel(running=True)

    def _wait(self, enough: Callable[[], bool]) -> None:
        worker = here.worker
        inside_of_crew = worker is not None and worker.crew is self.crew.staff
        while not enough():
            if worker is None or not inside_of_crew:
                self._sleep(enough)
            elif self._due < FOREVER or not self._help(worker, enough):
                with self._staff.away(worker, None):
                    self._sleep(enough)

    def _help(self, worker: Worker, enough: Callable[[], bool]) -> bool:
        """Do in this worker what it would wait for; False if there is nothing, or it may not."""
        carrier = self.make_carrier(enough)
        if not self._todo or not self._staff.may_run_inside(worker, carrier):
            return False
        if self.enlist(carrier):
            self._staff.run_inside(carrier)
        return True

    def _sleep(self, enough: Callable[[], bool]) -> None:
        while not enough():  # again, since who rings may have meant the bell before
            bell = _thread.allocate_lock()
            bell.acquire()
            self._bells.append(bell)
            left = self._due - monotonic()
            rung = enough() or (left > 0 and bell.acquire(timeout=-1 if left > TIMEOUT_MAX else left))
            self._bells.clear()
            if not rung and not enough():
                raise TimeoutError

    # For the crew.

    def has_waiting(self) -> bool:
        """Return whether there is an item that nobody has begun."""
        return bool(self._todo)

    def backlog(self) -> int:
        """Return how many items nobody has begun."""
        return len(self._todo)

    def fit(self) -> None:
        """Have as many workers at it as there are."""
        self.limit = max(1, cast("Crew", self.crew).size - self._inside)
        self.send_carriers()

    def make_carrier(self, enough: Callable[[], bool] | None = None) -> Carrier:
        """Return a carrier, which keeps the pool from being collected: nobody would come for what is put then."""
        carrier = super().make_carrier(enough)
        carrier.kept = self._door
        return carrier

    def carry(self, carrier: Carrier, tally: Tally, worker: Worker) -> bool:
        """Do one item after the other."""
        fn, copy_context, pull, done, bells = self._fn, self._context, self._todo.popleft, self._done, self._bells
        turn_ends = 0.0 if carrier.enough else monotonic() + TURN
        while True:
            try:
                slot = pull()
            except IndexError:
                if carrier.enough or self.go_home(carrier):
                    return True
                continue
            tally.pulled += 1
            tally.started += 1
            try:
                slot[VALUE] = copy_context().run(fn, slot[VALUE])
                end = RETURNED
            except BaseException as error:  # noqa: BLE001 - the edge of a worker: the consumer gets it, whatever it is
                trace = error.__traceback__  # without this frame, which would keep the item alive
                slot[VALUE], end = error.with_traceback(trace and trace.tb_next), RAISED
            now = monotonic()
            if now - tally.mark > QUICK or not tally.started & tally.mask:
                carrier.submitted_at = slot[READ_AT]
                tally.time(carrier, now)
            tally.mark = now
            if end is RETURNED:  # counted first: who sees the end may look at the stats
                tally.done += 1
            else:
                self._count_failure(carrier, tally, slot[VALUE])
            slot[END] = end
            if done is not None:
                done.append(slot)
            if bells:
                self._ring(slot)
            if now > turn_ends or worker.attention:
                if self.hand_over(carrier, worker):
                    return not worker.written_off
                turn_ends = now + TURN

    def _count_failure(self, carrier: Carrier, tally: Tally, error: BaseException) -> None:
        if isinstance(error, TaskCancelled) and carrier.asked:
            self.crew.books.stopped.add()
        else:
            tally.failed += 1

    def _ring(self, slot: Slot) -> None:
        if self._head is None or self._head is slot:
            with suppress(IndexError):  # the consumer has seen it, and has taken the bell off
                self._bells.pop().release()

    def cancel_waiting(self) -> None:
        """End all that nobody has begun as cancelled, and read no more."""
        self._source.verdict = self._source.verdict or CancelledError()
        self._end_waiting(CANCELLED, None)

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """End all that nobody has begun with an error, and read no more."""
        self._source.verdict = self._source.verdict or error()
        self._end_waiting(RAISED, error())

    def _end_waiting(self, end: End, value: object) -> None:
        while self._todo:
            with suppress(IndexError):
                slot = self._todo.popleft()
                slot[VALUE], slot[END] = value, end
                if self._done is not None:
                    self._done.append(slot)
                self._ring(slot)


def _raise(end: End, error: BaseException) -> None:
    try:
        raise CancelledError if end is CANCELLED else error
    finally:
        del error  # its traceback holds this frame
