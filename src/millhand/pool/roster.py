"""Who is in a crew of threads: hiring, resizing, pausing, standing in for each other, leaving.

Guarantees:
    A worker is hired when an item waits for which no worker is free, as long as there are fewer than wanted.
    The crew keeps its size: for a worker that waits for another call of its own pool, one more may come.

Locks:
    `roster` (re-entrant, since a finaliser may submit or cancel): who is in the crew, how many are wanted, what
    those who left have counted, and why work is refused. Taken after a line's lock, before the stdlib's
    `_global_shutdown_lock`; never held while user code runs.

Races:
    Submit against a worker that becomes free. Both are counted up, never down: items put, and items taken plus
    idle workers. Submit raises the first, then reads the second; if it is behind, nobody has promised to take
    this item, and one is hired. A worker that raised the second and then turns to callbacks takes its promise
    back and looks for itself.

    Pause and resize against a worker that takes a task. Who changes something sets `attention`, which workers
    read before they take an item and again before they start it; one that has read it a moment before still
    starts its task.

Shutdown:
    1. `close`: refuse work; cancel what waits, if asked to. 2. Each worker finishes what waits, meets the
    None, passes it on and leaves. 3. The last one stops the timers. 4. `join` waits for all of this, but not
    for threads that are written off: they are daemons, and leave when their call returns.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any
from weakref import ref

from millhand.core.clock import Seconds, SystemClock
from millhand.core.errors import NestedWaitLimit
from millhand.core.events import PoolResized, WorkerLeft
from millhand.pool import interpreter_exit
from millhand.pool.admission import CLOSED, Admission
from millhand.pool.current import bare, here, inside
from millhand.pool.listeners import Listener
from millhand.pool.options import Settings
from millhand.pool.queues import Item, Line
from millhand.pool.sizing import Sizing
from millhand.pool.stats import PoolStats, Tally, summary
from millhand.pool.task import Task, monotonic
from millhand.pool.timers import Timers
from millhand.pool.worker import Worker, chain_of

TOLD = object()
"""No task's terms: a worker for whom these are usual asks the crew for each task."""

LOOK: Seconds = 0.1
"""How often a worker of a paused pool looks whether the pool is still there, since a collected one cannot say."""


class Roster(Admission):
    """This is the part of a crew that knows who is in it.

    Args:
        pool: referred to weakly only; when it is collected, the crew finishes what waits and leaves.
        size: how many threads at most.
        name: the threads' names begin with it.
        settings: the rest.
    """

    def __init__(self, pool: object, size: int, name: str, settings: Settings) -> None:
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.threads: set[threading.Thread] = set()
        self.roster = threading.RLock()
        self.paused = self._cancels = False
        self.sizing: Sizing | None = None
        """For an elastic pool, what decides its size."""
        line = Line.of(settings, self.items, size, taken=self._taken, ended=self._ended)
        super().__init__(line, Timers(SystemClock(), f"{name}_timer"), settings)
        wake = self.items.put  # all that the callback may do: it can run anywhere, also under our locks
        self._pool = ref(pool, lambda _: wake(None))
        self._size, self._name = size, name
        self._departure, self._resumed = threading.Condition(self.roster), threading.Condition(self.roster)
        self._workers, self._stuck = set[Worker](), set[Worker]()
        self._away: set[Worker] = set()
        """Those who wait for other calls of this crew: as many more may be hired."""
        self._beside, self._past = set[Tally](), Tally()
        self._hired = 0
        self._fresh: Callable[[], Any] = inside if settings.copy_context else bare

    @abstractmethod
    def work(self, worker: Worker, first: Callable[[], object] | None) -> None:
        """Be a worker, from the thread's start to its end."""

    def make_worker(self, name: str, number: int) -> Worker:
        """Return one of the kind that works here."""
        return Worker(self, name, number)

    @property
    def staff(self) -> Roster:
        """The crew whose workers run the tasks: this one."""
        return self

    @property
    def size(self) -> int:
        """How many calls may run at once."""
        return self._size

    def stats(self) -> PoolStats:
        """Return one look at everything that was counted."""
        with self.roster:
            crew = [*self._workers, *self._stuck]
            tallies = [self._past, *crew, *self._beside]
            return summary(
                self.books, tallies, self.line.admitted, crew, workers=len(self._workers), written_off=len(self._stuck)
            )

    def is_over(self) -> bool:
        """Return whether workers are to leave when nothing waits any more."""
        return self.refusal is not None or interpreter_exit.is_near() or self._pool() is None

    @property
    def is_staffed(self) -> bool:
        """Whether there is anybody to run a task."""
        return bool(self._workers)

    def none_is_held(self) -> None:
        """Wake one worker, who passes it on, if they stayed only for calls that were parked."""
        if self.is_over():
            self.items.put(None)

    # Ending.

    def close(self, *, cancel: bool) -> None:
        """Take no more work, cancel what waits if told to, let everybody leave; idempotent."""
        with self.roster:
            self._cancels = self._cancels or cancel
            self.refusal = self.refusal or CLOSED
        super().close(cancel=cancel)
        self.resume()  # then: what is to be cancelled must not start
        self.note_departure()  # there may never have been anybody to leave

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until every worker has left; False if some have not after `timeout`.

        Raises:
            RuntimeError: in a worker, which would wait for itself.
        """
        if here.worker is not None and here.worker.crew is self:
            raise RuntimeError("cannot join current thread: a task cannot wait for the end of its own pool")
        with self._departure:
            if not self._departure.wait_for(lambda: not self._workers, timeout):
                return False
        for thread in tuple(self.threads):
            thread.join()
        self.timers.join()
        return True

    def abandon(self) -> None:
        """Let the interpreter end without those who still run."""
        for thread in tuple(self.threads):
            interpreter_exit.forget(thread)
        self.timers.stop()

    # How many.

    def resize(self, size: int) -> None:
        """Change how many calls may run at once; a running call is never interrupted for it."""
        if self._hands_over:
            self.line.resize(size)
        with self.roster:
            changes, self._size = size != self._size, size
            self._short = True
            self._thin_out()
            while self.refusal is None and self._is_short():
                self.hire()
        for guest in self.guests:
            guest.fit()
        if changes and self.listeners:
            self.listeners.tell(PoolResized(size))

    def listen(self, listener: Listener) -> None:
        """Tell a listener what happens from now on."""
        super().listen(listener)
        with self.roster:
            for worker in self._workers:
                worker.usual = TOLD

    def pause(self) -> None:
        """Start no more tasks until `resume`; those that run go on."""
        with self.roster:
            self.paused = self.refusal is None
            self._call_for_attention()

    def resume(self) -> None:
        """Start tasks again."""
        with self.roster:
            self.paused = False
            self._resumed.notify_all()

    def staff_up(self) -> None:
        """Hire a worker if an item waits for which nobody is free, and there are fewer than wanted."""
        if self.sizing is not None:
            self.sizing.wake()
        with self.roster:
            if self.refusal is not None and not self._workers:
                raise self.refusal()  # `join` may have returned: nobody must come any more
            if self._is_short():
                self.hire()

    def hire(self, first: Callable[[], object] | None = None) -> None:
        """Start a worker, which calls `first` before it takes a task. Raises RuntimeError if it cannot be started."""
        worker = self.make_worker(f"{self._name}_{self._hired}", self._hired)
        worker.idle = first is None  # hired for an item that waits, and so promised to take one
        worker.attention = self.paused or self._hands_over
        worker.usual = TOLD if self.listeners else None
        worker.fresh = self._fresh
        worker.thread = threading.Thread(target=self.work, args=(worker, first), name=worker.name, daemon=True)
        with self.roster:  # held until the worker is in the crew: it may leave at once
            interpreter_exit.start(worker.thread, self.items)
            self._workers.add(worker)
            if self._hired >= 2 * len(self._workers):  # those who left are not to add up
                self.threads.difference_update([thread for thread in self.threads if not thread.is_alive()])
            self.threads.add(worker.thread)
            self._hired += 1
            self._short = len(self._workers) < self._size + len(self._away)

    def staff_up_at_next_submit(self) -> None:
        """Have the next submit call `staff_up`."""
        self._short = True

    @property
    def backlog(self) -> int:
        """For how many workers there is something to do that does not wait in the line: items of maps, for example."""
        return sum(guest.backlog() for guest in self.guests)

    @property
    def stand_ins(self) -> int:
        """How many workers stand in for those who wait for other calls of this crew."""
        return len(self._away)

    @property
    def busy(self) -> int:
        """How many workers are at work, whoever's call it is."""
        with self.roster:
            return sum(not worker.idle for worker in self._workers - self._away)

    def _is_short(self) -> bool:
        self._short = len(self._workers) < self._size + len(self._away)
        return self._short and self.line.items_put() > self._promised()

    def _thin_out(self) -> None:
        """Have as many leave as there are too many, as soon as they are free."""
        surplus = len(self._workers) - self._size - len(self._away)
        if surplus > 0:
            self._call_for_attention()
            for _ in range(surplus):
                self.items.put(None)  # the busy ones look by themselves, the idle ones must be woken

    def _call_for_attention(self) -> None:
        for worker in self._workers:
            worker.attention = True

    # What workers count.

    def _taken(self) -> int:
        with self.roster:
            # Those beside, too: one that leaves has its tasks taken, and rings no bell when it has left.
            return self._past.taken + sum(each.taken for each in (*self._workers, *self._stuck, *self._beside))

    def _ended(self) -> int:
        with self.roster:
            return self._taken() - sum(not worker.idle for worker in self._workers)

    def _promised(self) -> int:
        """Return how many items workers have taken or, being idle, are about to take."""
        promised = self._past.taken + sum(each.taken for each in (*self._stuck, *self._beside))
        for worker in self._workers:
            # In this order, while a worker lowers `idle` before it raises `taken`: never one too many.
            promised += worker.taken + worker.idle
        return promised

    @contextmanager
    def counted_beside(self) -> Iterator[Tally]:
        """Count what is done outside of a worker's loop."""
        tally = Tally()
        tally.fresh = self._fresh
        with self.roster:
            self._beside.add(tally)
        try:
            yield tally
        finally:
            with self.roster:
                self._beside.discard(tally)
                self._past.absorb(tally)

    # Between two tasks.

    def may_stay(self, worker: Worker) -> bool:
        """Look at what has changed, for a worker with `attention`; False if it is to leave now."""
        if self._hands_over:
            worker.idle = True  # a place is free now, not when a task is taken
            if self.line.bell:
                self.line.ring()
        with self.roster:
            if worker.written_off:
                return False
            self._away.discard(worker)  # whatever it waited for is over
            worker.waits_for = None
            worker.attention = self.paused or self._hands_over
            if len(self._workers) <= self._size + len(self._away):
                return True
            self._workers.discard(worker)  # at once, or another one would leave in its stead, too
            self._beside.add(worker)
            return False

    def hold(self, worker: Worker, item: Item) -> Item:
        """Wait while the pool is paused, then return the item; None if it went back, or was cancelled meanwhile."""
        if self.line.ordered and self._is_held():
            # Something more urgent may come, and who drops tasks must find them all in the line.
            item = self.line.give_back(item)
        with self.roster:
            while self._is_held():
                self._resumed.wait(LOOK)
            too_many = len(self._workers) > self._size + len(self._away)
        if too_many and item is not None and not self._cancels:
            self.line.keep_order()  # the crew shrank, and this one leaves: the item goes back to its place
            item = self.line.give_back(item)
        worker.mark = monotonic()  # a pause is no part of a run
        if item is None or not self._cancels:
            return item
        task = self.line.best(item) if self.line.ordered else item
        if task is not None:
            worker.taken += 1
            task.cancel()
        return None

    def _is_held(self) -> bool:
        # Without this, a pool that is collected, or outlives the program, while it is paused would never end.
        return self.paused and not self.is_over()

    def leave(self, worker: Worker) -> None:
        """Take a worker off the roster."""
        with self.roster:
            for each in (self._workers, self._stuck, self._away, self._beside):
                each.discard(worker)
            self._past.absorb(worker)
            self._short = True
        self.note_departure()
        if self.listeners:
            self.listeners.tell(WorkerLeft(worker.name))

    def note_departure(self) -> None:
        """Tell `join`, and stop the timers when nobody needs them any more."""
        with self.roster:
            if not self._workers and self.is_over():
                self.takes_back = False
                self.timers.stop()
            self._departure.notify_all()

    # Waiting for each other.

    @contextmanager
    def away(self, worker: Worker, task: Task | None) -> Iterator[None]:
        """Have another worker stand in for one that waits for a task.

        Raises:
            NestedWaitLimit: too many wait already.
        """
        expected = worker in self._away  # by `expect_wait`: it may go on to wait there, in the middle of as_completed
        try:
            self._step_aside(worker, task)
            yield
        finally:
            with self.roster:
                worker.waits_for = None
                if not expected:
                    self._away.discard(worker)
                    self._thin_out()

    def expect_wait(self, worker: Worker) -> None:
        """Have another worker stand in for one that is about to wait, until it comes back for its next task."""
        if worker not in self._away:
            self._step_aside(worker, None)
            worker.attention = True

    def _step_aside(self, worker: Worker, task: Task | None) -> None:
        with self.roster:
            limit = max(1_000, 4 * self._size)
            if len(self._away) >= limit:
                raise NestedWaitLimit(limit, chain_of(self._workers, worker, task))
            worker.waits_for = task
            if worker not in self._stuck:
                self._away.add(worker)
            self.staff_up()
        for guest in self.guests:
            guest.lend()

    def is_away(self, worker: Worker) -> bool:
        """Return whether another one may stand in for this worker."""
        return worker in self._away
