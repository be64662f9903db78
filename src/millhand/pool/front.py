"""The front of a crew: what every kind of pool has, and what each of them does in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial

from millhand.core.clock import Instant, Seconds
from millhand.pool.current import here
from millhand.pool.future import End
from millhand.pool.guests import Guests
from millhand.pool.listeners import Listener, Listeners
from millhand.pool.options import Settings
from millhand.pool.order import make_order
from millhand.pool.parking import Parking
from millhand.pool.queues import Line
from millhand.pool.stats import Books, PoolStats, Tally
from millhand.pool.task import Task, monotonic
from millhand.pool.terms import FOREVER
from millhand.pool.timers import Timers
from millhand.pool.worker import Worker


class Front(ABC):
    """This is the front of a crew.

    Args:
        line: where tasks wait.
        timers: for their deadlines.
        settings: what to do without a place, and when everything must have ended.
        parking: where calls wait that may not run yet; None: a new one.
    """

    def __init__(self, line: Line, timers: Timers, settings: Settings, parking: Parking | None = None) -> None:
        self.line, self.timers = line, timers
        self.parking = parking or Parking(timers)
        self.held = 0
        """How many of its calls are parked, or on their way back from there; changed under the parking's lock."""
        self.takes_back = True
        """Whether calls may be parked: not any more when what waits is cancelled, or failed."""
        self.make_order = partial(make_order, "lifo" if settings.order == "lifo" else "fifo", settings.ageing)
        self.books = Books()
        self.listeners = Listeners()
        self.refusal: Callable[[], Exception] | None = None
        self._when_full, self._submit_timeout = settings.when_full, settings.submit_timeout
        self._hands_over = settings.hands_over
        """Nothing waits, so nothing could be dropped: whatever has no worker at once goes."""
        self.deadline: Instant = monotonic() + (settings.total_timeout or FOREVER)
        self.guests = Guests()
        self._short = True
        """Whether a submit must see to it that somebody takes the task."""

    # What a kind of pool does in its own way.

    @property
    @abstractmethod
    def staff(self) -> Front:
        """The crew whose workers run the tasks."""

    @abstractmethod
    def staff_up(self) -> None:
        """See to it that somebody takes what waits. Raises RuntimeError if nobody can be had."""

    @abstractmethod
    def welcome(self, task: Task) -> None:
        """See to it that somebody takes a task that has come back to the line."""

    @abstractmethod
    def time_out(self, task: Task) -> None:
        """Fail a task whose time for waiting and running is over."""

    @property
    def parked(self) -> int:
        """How many of the calls that wait, wait for something else than a worker."""
        return self.line.parked

    @property
    def may_park(self) -> bool:
        """Whether somebody will come for a call that is parked."""
        return self.takes_back and self.staff.takes_back

    @property
    def is_staffed(self) -> bool:
        """Whether there is anybody to run a task."""
        return True

    @abstractmethod
    def none_is_held(self) -> None:
        """Called when no call is parked any more: those who stayed for them may leave."""

    @abstractmethod
    def run_here(self, task: Task) -> None:
        """Run a task in this thread, counted but without a place."""

    @abstractmethod
    def stop_running(self, task: Task, error: Exception) -> None:
        """End a task that runs past its deadline with `error`, and see to the worker it is in."""

    @abstractmethod
    def interrupt(self, task: Task) -> None:
        """Do what can be done to make a running task notice that it was asked to stop."""

    def listen(self, listener: Listener) -> None:
        """Tell a listener what happens from now on."""
        self.listeners.append(listener)

    def forget(self, listener: Listener) -> None:
        """Tell a listener no more; nothing happens if it is not told."""
        with suppress(ValueError):
            self.listeners.remove(listener)

    @property
    @abstractmethod
    def size(self) -> int:
        """How many calls may run at once."""

    @abstractmethod
    def resize(self, size: int) -> None:
        """Change that."""

    @abstractmethod
    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until all has ended after a `close`; False if it has not after `timeout`."""

    @abstractmethod
    def stats(self) -> PoolStats:
        """Return one look at everything that was counted."""

    def wait_inside(self, worker: Worker, task: Task, timeout: Seconds | None) -> End:
        """Wait for a task in a worker that the task may need."""
        raise NotImplementedError

    def admits(self, worker: Worker) -> bool:
        """Return whether a worker may run a task of this crew now that it would otherwise wait for."""
        return True

    def counted_beside(self) -> AbstractContextManager[Tally]:
        """Count what is done outside of a worker's loop."""
        raise NotImplementedError

    def expect_wait(self, worker: Worker) -> None:
        """Be prepared for a worker that is about to wait for tasks of its own crew."""
        raise NotImplementedError

    def lend_place(self) -> Callable[[], object] | None:
        """Let somebody else work as long as the call that asks awaits one of this crew; return what ends the loan.

        Called in the thread of an event loop, which may be a worker itself.
        """
        worker = here.worker
        if worker is not None and worker.crew is self.staff:
            self.staff.expect_wait(worker)
        return None
