"""Sub-pools, as the bulkheads of a ship: a pool of its own that borrows its workers from another one, up to a limit.

So one kind of work cannot take all workers, nor all places in the queue, from the others, and no thread is added.

Guarantees:
    At most `max_workers` of the parent's workers are in a sub-pool's calls at a time. Not counted are those that
    wait for other calls of the parent or of its sub-pools, since these may need the room, and those written off.
    A sub-pool has its own line, bound, order and counts. Among the parent's work its carriers (`pool.carrier`) stand
    in the line as any task.

Locks:
    `_sending` (`pool.carrier`): who is under way, and with `_departure`, who waits for the last of them.

Shutdown:
    1. `close` refuses work, and cancels what waits if asked to. 2. Carriers finish what waits. 3. `join` waits
    until none is under way. The parent's end does the first for all its sub-pools, and waits for the second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, cast
from weakref import ref

from millhand.core.clock import Seconds
from millhand.pool.admission import Admission
from millhand.pool.carrier import TURN, Carrier, Sender
from millhand.pool.crew import Crew
from millhand.pool.current import here
from millhand.pool.options import Settings
from millhand.pool.queues import Item, Line
from millhand.pool.stats import PoolStats, Tally, summary
from millhand.pool.task import Task, call_back, monotonic
from millhand.pool.worker import Worker

if TYPE_CHECKING:
    from millhand.pool.pool import Pool


class Lane(Admission, Sender):
    """This is the front of a sub-pool, whose crew is borrowed.

    Args:
        parent: the pool that lends; kept only by those who are under way, as they keep it busy.
        crew: the parent's, or its front, if it is a sub-pool itself.
        limit: how many workers at a time.
        settings: the rest.
    """

    def __init__(self, parent: Pool, crew: Admission, limit: int, settings: Settings) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        line = Line.of(settings, self._items, limit, taken=self._taken, ended=self._ended)
        self._refusal: Callable[[], Exception] | None = None
        Sender.__init__(self, crew, limit, "a sub-pool")
        Admission.__init__(self, line, crew.timers, settings, crew.parking)
        self.deadline = min(self.deadline, crew.deadline)
        self._parent = ref(parent)
        self._staff = cast("Crew", crew.staff)
        self._departure = threading.Condition(self._sending)
        self._lends = False
        """Whether somebody under way may be waiting for other calls, so that one more may come."""
        self._tallies: list[Tally] = []
        self._free: list[Tally] = []
        crew.guests.add(self)

    # As a crew.

    @property
    def refusal(self) -> Callable[[], Exception] | None:
        """Why no more work is taken; None if it is."""
        return self._refusal or self.crew.refusal

    @refusal.setter
    def refusal(self, refusal: Callable[[], Exception] | None) -> None:
        self._refusal = refusal

    @property
    def staff(self) -> Admission:
        """The crew whose workers run the tasks: the parent's."""
        return self._staff

    @property
    def size(self) -> int:
        """How many calls may run at once."""
        return self.limit

    def staff_up(self) -> None:
        """Send a carrier if something waits and there may be one more."""
        if (self._lends or len(self.carriers) < self.limit) and self.has_waiting():
            self.send_carrier()

    def run_here(self, task: Task) -> None:
        """Run a task in this thread, counted but without a place."""
        self.books.without_place.add()
        self._staff.run_inside(task)

    def stop_running(self, task: Task, error: Exception) -> None:
        """End a task that runs past its deadline, and have the worker that is stuck in it replaced."""
        self._staff.stop_running(task, error)

    def interrupt(self, task: Task) -> None:
        """Raise in a running task that was submitted with `interrupt`."""
        self._staff.interrupt(task)

    def admits(self, worker: Worker) -> bool:
        """Return whether a worker is in one of the sub-pool's calls already, so that it may run another inside."""
        return any(carrier.worker is worker for carrier in tuple(self.carriers))

    def stats(self) -> PoolStats:
        """Return one look at everything that was counted."""
        crew = [carrier.worker for carrier in tuple(self.carriers) if carrier.worker is not None]
        tallies = tuple(self._tallies)
        return summary(self.books, tallies, self.line.admitted, crew, workers=len(crew), written_off=0)

    @contextmanager
    def counted_beside(self) -> Iterator[Tally]:
        """Count what is done outside of a carrier's loop."""
        tally = self._take_tally()
        try:
            yield tally
        finally:
            self._free.append(tally)

    def resize(self, limit: int) -> None:
        """Change how many calls may run at once."""
        if self._hands_over:
            self.line.resize(limit)
        self.limit = limit
        self.send_carriers()
        for guest in self.guests:
            guest.fit()

    def close(self, *, cancel: bool) -> None:
        """Take no more work, cancel what waits if told to; idempotent."""
        super().close(cancel=cancel)
        with self._departure:
            self._departure.notify_all()

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until no carrier is under way; False if one still is after `timeout`.

        Raises:
            RuntimeError: in a call of the sub-pool, which would wait for itself.
        """
        worker = here.worker
        if worker is not None and self.admits(worker):
            raise RuntimeError("a task cannot wait for the end of its own pool")
        with self._away(), self._departure:
            return self._departure.wait_for(lambda: not (self.carriers or self.held), timeout)

    def none_is_held(self) -> None:
        """Tell `join` that no call is parked any more."""
        with self._departure:
            self._departure.notify_all()

    def _away(self) -> AbstractContextManager[None]:
        """Have another worker stand in while this one, if it is one, waits."""
        worker = here.worker
        return nullcontext() if worker is None or worker.crew is not self._staff else self._staff.away(worker, None)

    def _wait_for_place(self, task: Task, timeout: Seconds | None) -> bool:
        worker = here.worker
        if worker is None or worker.crew is not self._staff or self.admits(worker):
            return super()._wait_for_place(task, timeout)
        with self._away():
            if self.line.wait_for_place(lambda: self.refusal is not None, timeout):
                return True
        error = self.refusal() if self.refusal else self._full(f"none came free in {timeout} s; raise submit_timeout")
        return self._refuse(task, error)

    def _taken(self) -> int:
        return sum(tally.taken for tally in tuple(self._tallies))

    def _ended(self) -> int:
        return self._taken() - sum(not tally.idle for tally in tuple(self._tallies))

    def _take_tally(self) -> Tally:
        """Return one that nobody writes; there are as many as were needed at once."""
        with suppress(IndexError):
            return self._free.pop()
        tally = Tally()
        tally.idle = True
        self._tallies.append(tally)
        return tally

    # As a sender.

    def has_waiting(self) -> bool:
        """Return whether a task waits."""
        return not self._items.empty()

    def check_open(self) -> None:
        """Raise if nothing more is to be sent: `join` may have returned."""
        if self._refusal is not None and not (self.carriers or self.held):
            raise self._refusal()

    def has_room(self) -> bool:
        """Return whether one more carrier may be under way."""
        with self._sending:
            return len(self.carriers) < self.limit or (self._lends and self._present() < self.limit)

    def make_carrier(self, enough: Callable[[], bool] | None = None) -> Carrier:
        """Return a carrier, which keeps the parent from being collected: nobody would come for what is put then."""
        carrier = super().make_carrier(enough)
        carrier.kept = self._parent()
        return carrier

    def strike_off(self, carrier: Carrier) -> None:
        """Note that a carrier is not under way any more."""
        with self._departure:
            super().strike_off(carrier)
            if not self.carriers:
                self._departure.notify_all()

    def lend(self) -> None:
        """Have another carrier come for one whose worker begins to wait; and so in sub-pools of this one."""
        with self._sending:  # or one that looks at this very moment, and sees nobody away yet, lowers it after this
            self._lends = True
        with suppress(RuntimeError):  # then nobody comes any more: what waits is failed, or finished by those there
            self.staff_up()
        for guest in self.guests:
            guest.lend()

    def backlog(self) -> int:
        """Return how many carriers wait for a worker."""
        return sum(carrier.worker is None for carrier in tuple(self.carriers))

    def carry(self, carrier: Carrier, tally: Tally, worker: Worker) -> bool:
        """Run one task after the other."""
        own, line, take = self._take_tally(), self.line, self._items.get_nowait
        own.mark = monotonic()
        turn_ends = own.mark + TURN
        while True:
            try:
                item = take()
            except Empty:
                if self.go_home(carrier):
                    break
                continue
            task = line.best(item) if line.ordered else item
            del item
            if task is not None and not self._perform(task, carrier, own, worker):
                self._free.append(own)
                return False
            del task
            if self._lends and self._is_crowded():
                self.strike_off(carrier)
            if carrier not in self.carriers:
                break
            if own.mark > turn_ends or worker.attention:
                if self.hand_over(carrier, worker):
                    break
                turn_ends = own.mark + TURN
        self._free.append(own)
        return not worker.written_off

    def _perform(self, task: Task, carrier: Carrier, own: Tally, worker: Worker) -> bool:
        """Run a task; return whether the worker may go on."""
        own.idle = False
        own.taken += 1
        if self.line.bell:
            self.line.ring()
        worker.task = task
        if task.terms is None and not self.listeners:
            callbacks = task.perform(own)
        else:
            replace = partial(self._replace, carrier, own, worker)
            task.at_end(replace)
            callbacks = self._staff.perform(task, own, worker)
            if task.course is not None and callbacks is not None:  # None: whoever ends it needs the hook yet
                task._attach().forget(replace)  # noqa: SLF001 - as `at_end` does it; it may go on elsewhere
        if callbacks is None:
            if self._staff.is_written_off(worker):
                return False
            self.readmit(carrier)
        elif callbacks:
            worker.task = None
            call_back(task, callbacks)
            own.mark = monotonic()
        worker.task = carrier
        own.idle = True
        if self._hands_over and self.line.bell:
            self.line.ring()
        return True

    def _replace(self, carrier: Carrier, own: Tally, worker: Worker, _: object) -> None:
        """Have another carrier come for one whose worker is written off."""
        if here.worker is worker:
            return
        own.idle = True
        self.strike_off(carrier)
        with suppress(RuntimeError):  # the parent has given up, and fails what waits
            self.staff_up()

    def _present(self) -> int:
        """Return how many are under way and do not wait for other calls."""
        away = sum(each.worker is not None and self._staff.is_away(each.worker) for each in tuple(self.carriers))
        self._lends = away > 0
        return len(self.carriers) - away

    def _is_crowded(self) -> bool:
        with self._sending:
            return self._present() > self.limit
