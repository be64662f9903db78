"""The way in: what a submit goes through before its task stands in the line, the same for every kind of pool.

Guarantees:
    A submit takes a place, or does what the pool was told to do when full, or raises, and then leaves nothing.
    A task that was let in ends: it runs, or it is cancelled, dropped or timed out, or it fails with what
    stopped the pool.

Races:
    Submit against close. Submit puts, then looks at `refusal`; close sets `refusal`, then wakes those who
    work. So a task stands in the line before they look whether they may leave, or its submitter sees the
    refusal and withdraws it. The end of the interpreter works alike, with the stdlib's `_shutdown`.

    Submit against a deadline. The alarm is set after the put, so that no task is counted out before it is
    counted in; if the task has ended in between, nobody calls the alarm off, and its ring finds nothing to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import PoolClosed, QueueFull
from millhand.pool import interpreter_exit
from millhand.pool.current import here
from millhand.pool.future import End, running_loop
from millhand.pool.options import NO_OPTIONS, Settings
from millhand.pool.queues import Line
from millhand.pool.scope import leave
from millhand.pool.stats import Books, PoolStats
from millhand.pool.task import FOREVER, Task, call_back, monotonic
from millhand.pool.timers import Timers
from millhand.pool.worker import Worker

CLOSED = partial(PoolClosed, "this pool was shut down; submit before that")
EXIT = partial(PoolClosed, "the interpreter is about to exit")


class Admission(ABC):
    """This is the front of a crew.

    Args:
        line: where tasks wait.
        timers: for their deadlines.
        settings: what to do without a place, and when everything must have ended.
    """

    def __init__(self, line: Line, timers: Timers, settings: Settings) -> None:
        self.line, self.timers = line, timers
        self.books = Books()
        self.refusal: Callable[[], Exception] | None = None
        self._when_full, self._submit_timeout = settings.when_full, settings.submit_timeout
        total_timeout = settings.total_timeout
        self._deadline: Instant | None = None if total_timeout is None else monotonic() + total_timeout
        self._short = True
        """Whether a submit must see to it that somebody takes the task."""

    # What a kind of pool does in its own way.

    @property
    @abstractmethod
    def staff(self) -> Admission:
        """The crew whose workers run the tasks."""

    @abstractmethod
    def staff_up(self) -> None:
        """See to it that somebody takes what waits. Raises RuntimeError if nobody can be had."""

    @abstractmethod
    def run_here(self, task: Task) -> None:
        """Run a task in this thread, counted but without a place."""

    @abstractmethod
    def stop_running(self, task: Task, error: Exception) -> None:
        """End a task that runs past its deadline with `error`, and see to the worker it is in."""

    @abstractmethod
    def interrupt(self, task: Task) -> None:
        """Do what can be done to make a running task notice that it was asked to stop."""

    @abstractmethod
    def stats(self) -> PoolStats:
        """Return one look at everything that was counted."""

    def wait_inside(self, worker: Worker, task: Task, timeout: Seconds | None) -> End:
        """Wait for a task in a worker that the task may need."""
        raise NotImplementedError

    def expect_wait(self, worker: Worker) -> None:
        """Be prepared for a worker that is about to wait for tasks of its own crew."""
        raise NotImplementedError

    # Submitting.

    def submit(self, task: Task) -> None:
        """Have a task run; when the line is full, do what the pool or the call's options say.

        Raises:
            PoolClosed, BrokenExecutor: no more work is taken.
            QueueFull: there is no place, and it is not to wait, or has waited long enough.
        """
        if self.refusal is not None:
            self._refuse(task, self.refusal())
        if task.options is not None or here.worker is not None or self._deadline is not None:
            self._prepare(task)
        line = self.line
        if next(line.places, False) or self._find_place(task):
            line.put(task)
            self._follow_up(task)

    def offer(self, task: Task) -> bool:
        """Submit a task if there is a place, without waiting; False if there is none. Raises as `submit`."""
        if self.refusal is not None:
            self._refuse(task, self.refusal())
        line = self.line
        if not (next(line.places, False) or line.issue_place()):
            return False
        if task.options is not None or here.worker is not None or self._deadline is not None:
            self._prepare(task)
        line.put(task)
        self._follow_up(task)
        return True

    def reprioritise(self, task: Task, priority: int) -> bool:
        """Give a waiting task another priority; False if it does not wait."""
        return not task.done() and self.line.reprioritise(task, priority)

    def close(self, *, cancel: bool) -> None:
        """Take no more work, cancel what waits if told to, and wake those who work; idempotent."""
        self.refusal = self.refusal or CLOSED
        if cancel:
            self.cancel_waiting()
        self.line.close()

    def cancel_waiting(self) -> None:
        """Cancel all that waits."""
        for task in self.line.drain():
            task.cancel()

    # Before the put, and after it.

    def _prepare(self, task: Task) -> None:
        """Give a task that has more to it than the call its deadline, and its place in the tree of cancellation."""
        options = task.options = task.options or NO_OPTIONS
        worker = here.worker
        parent = None if worker is None else worker.task
        task.worker = task.guard = None
        task.deadline = min(
            deadline
            for deadline in (
                self._deadline,
                None if options.total_timeout is None else task.submitted_at + options.total_timeout,
                getattr(parent, "deadline", None),
                None if worker is None else min((due for due, _ in worker.limits), default=None),
                getattr(task, "deadline", None),  # a group's calls have its deadline and its scope already
                FOREVER,
            )
            if deadline is not None
        )
        if task.deadline < FOREVER:
            task.alarm = None
            task.at_end(self._call_off)
        if options.priority:
            self.line.keep_order()
        scope = getattr(task, "scope", None)
        task.scope = None
        if scope is None and parent is not None:
            scope = parent.scope_of_children()
        if scope is not None and not task.join(scope):
            task.cancel()

    def _follow_up(self, task: Task) -> None:
        self.look_after(task)
        if task.options is not None and task.deadline < FOREVER and not task.done():
            task.alarm = self.timers.at(task.deadline, partial(self._time_out, task))

    def look_after(self, task: Task) -> None:
        """See to it that somebody takes a task that was put, or take it back and raise if work is refused."""
        # Only after the put: see "Submit against close".
        if self.refusal is not None or interpreter_exit.is_near():
            self._withdraw(task, self.refusal or EXIT)
        elif self._short:
            try:
                self.staff_up()
            except RuntimeError as error:  # no thread can be started
                refusal = error
                self._withdraw(task, lambda: refusal)

    def _call_off(self, task: Task) -> None:
        if task.alarm is not None:
            self.timers.call_off(task.alarm)

    def _time_out(self, task: Task) -> None:
        """Called by the timer: the time that a task had for waiting and running is over."""
        error = task.describe_timeout(task.deadline - task.submitted_at, total=True)
        if not task.take_ticket():
            self.stop_running(task, error)
        elif task.seize_end():
            self.books.expired.add()
            call_back(task, task.end_early(error))

    # Without a place.

    def _find_place(self, task: Task) -> bool:
        """Get a place where the fast path found none; False if the task needs none any more."""
        line = self.line
        if line.issue_place():
            return True
        options = task.options or NO_OPTIONS
        match options.when_full or self._when_full:
            case "block":
                return self._wait_for_place(task, options.submit_timeout or self._submit_timeout)
            case "reject":
                self._refuse(task, self._full("wait, raise queue_size, or choose another when_full"))
            case "caller_runs":
                self._refuse_loop(task)
                self.run_here(task)
            case "drop_newest":
                self.books.without_place.add()
                self._drop(task, "drop_newest")
            case "drop_oldest":
                return self._swap(task, line.swap_oldest, "drop_oldest")
            case "drop_lowest":
                return self._swap(task, line.swap_lowest, "drop_lowest")
        return False

    def _wait_for_place(self, task: Task, timeout: Seconds | None) -> bool:
        self._refuse_loop(task)
        worker = here.worker
        if worker is not None and worker.crew is self.staff:
            # A worker cannot wait for a place that only workers can free.
            self.run_here(task)
            return False
        if self.line.wait_for_place(lambda: self.refusal is not None, timeout):
            return True
        error = self.refusal() if self.refusal else self._full(f"none came free in {timeout} s; raise submit_timeout")
        return self._refuse(task, error)

    def _swap(self, task: Task, swap: Callable[[Task], Task | None], policy: str) -> bool:
        """Put a task where another one goes; False, since it needs no place of its own."""
        line = self.line
        while (dropped := swap(task)) is None:
            # All that waits is promised to a worker, so a place comes free in a moment.
            if line.wait_for_place(lambda: self.refusal is not None):
                return True
            if self.refusal is not None:
                return self._refuse(task, self.refusal())
        self.books.without_place.add()
        self._drop(dropped, policy)
        self._follow_up(task)
        return False

    def _drop(self, task: Task, policy: str) -> None:
        if task.take_ticket() and task.seize_end():
            self.books.dropped.add()
            call_back(task, task.end_early(task.drop(policy)))

    def _refuse_loop(self, task: Task) -> None:
        if running_loop() is not None:
            self._refuse(
                task, self._full("await pool.run(...) instead: this thread runs an event loop and must not be blocked")
            )

    def _full(self, remedy: str) -> QueueFull:
        return QueueFull(self.line.waiting(), self.line.size, remedy)

    def _refuse(self, task: Task, error: Exception) -> bool:
        self.books.without_place.add()
        self._withdraw(task, lambda: error)
        raise error

    def _withdraw(self, task: Task, error: Callable[[], Exception]) -> None:
        """Take a task back and raise, unless somebody else has taken it."""
        if task.withdraw():
            if task.options is not None:
                leave(task)
            self.books.refused.add()
            raise error()

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """End all that waits with an error."""
        for task in self.line.drain():
            if task.take_ticket() and task.seize_end():
                self.books.failed_waiting.add()
                call_back(task, task.end_early(error()))
