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

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from millhand.core.clock import Seconds
from millhand.core.errors import PoolClosed, QueueFull, TaskDropped, TaskTimeout
from millhand.core.events import TaskDiscarded
from millhand.pool import interpreter_exit
from millhand.pool.course import Course
from millhand.pool.current import here, shield
from millhand.pool.front import Front
from millhand.pool.future import running_loop
from millhand.pool.interpreter_exit import HOOK
from millhand.pool.options import Options
from millhand.pool.scope import leave
from millhand.pool.task import Task, call_back
from millhand.pool.terms import FOREVER, Terms

MOMENT: Seconds = 0.001
CLOSED = partial(PoolClosed, "this pool was shut down; submit before that")


class Admission(Front):
    """This lets tasks into a crew. Its arguments are those of Front."""

    # Submitting.

    def submit(self, task: Task) -> None:
        """Have a task run; when the line is full, do what the pool or the call's options say.

        Raises:
            PoolClosed, BrokenExecutor: no more work is taken.
            QueueFull: there is no place, and it is not to wait, or has waited long enough.
        """
        if self.refusal is not None:
            self._refuse(task, self.refusal())
        if (task.terms is not None or task.context is not None) and not self._is_lean(task):
            self._submit_on_terms(task)
            return
        line = self.line
        if next(line.places, False) or self._find_place(task):
            line.put(task)
            # Only after the put: see "Submit against close".
            if self._short or self.refusal is not None or HOOK._shutdown:  # noqa: SLF001 - is_near
                self._follow_up(task)

    def offer(self, task: Task, *, again: bool = False) -> bool:
        """Submit a task without waiting; False if it is to wait for a place: then it may be offered `again`.

        Raises:
            As `submit` does.
        """
        if self.refusal is not None:
            self._refuse(task, self.refusal())
        if not again:
            self.prepare(task)
        if self._is_cancelled(task):
            return True
        line = self.line
        if not (next(line.places, False) or line.issue_place()):
            if self._waits_when_full(task):
                return False
            if not self._find_place(task):
                return True
        line.put(task)
        if self._short or self.refusal is not None or task.terms is not None or HOOK._shutdown:  # noqa: SLF001 - as in submit
            self._follow_up(task)
        return True

    def reprioritise(self, task: Task, priority: int) -> bool:
        """Give a waiting task another priority; False if it does not wait."""
        return not task.done() and self.parking.reprioritise(task, priority)

    def close(self, *, cancel: bool) -> None:
        """Take no more work, cancel what waits if told to, and wake those who work; idempotent."""
        self.refusal = self.refusal or CLOSED
        if cancel:
            self.takes_back = False
            self.cancel_waiting()
        self.line.close()

    def cancel_waiting(self) -> None:
        """Cancel all that waits."""
        for task in self._drain():
            task.cancel()
        for guest in self.guests:
            guest.cancel_waiting()

    def _drain(self) -> list[Task]:
        return self.line.drain() + self.parking.parked(self)

    # Before the put, and after it.

    def prepare(self, task: Task) -> None:
        """Agree on a task's terms, if it needs any."""
        if not self._is_lean(task):
            self._prepare(task)

    def _is_lean(self, task: Task) -> bool:
        """Return whether there is nothing to note of a task: no deadline, and nothing that it is cancelled with."""
        terms = task.terms
        if here.worker is not None or self.deadline < FOREVER or not (terms is None or terms.lean):
            return False
        if isinstance(terms, Options):
            if terms.priority and not self.line.ordered:
                self.line.keep_order()
            if terms.timeout is not None and not self.timers.runs:
                with suppress(RuntimeError):  # then its worker tries again, and fails the call
                    self.timers.start()  # now, since from 3.12 on no thread can be started while the program ends
        return True

    def _submit_on_terms(self, task: Task) -> None:
        with shield():
            self._prepare(task)
            if not self._is_cancelled(task) and (next(self.line.places, False) or self._find_place(task)):
                self.line.put(task)
                self._follow_up(task)

    def _is_cancelled(self, task: Task) -> bool:
        """Return whether a prepared task has ended, since its scope is cancelled; then it is done with, and counted."""
        if task.end is not None:
            self.books.without_place.add()
        return task.end is not None

    def _prepare(self, task: Task) -> None:
        """Give a task that has more to it than the call its deadline, and its place in the tree of cancellation."""
        terms = task.on_terms()
        options = terms.options
        if terms.scope is not None and terms.scope.closed:
            self._refuse(task, PoolClosed("this group is not open; submit inside of its `with` body"))
        worker = here.worker
        parent = None if worker is None or worker.task is None or worker.task.is_over() else worker.task
        terms.deadline = min(
            terms.deadline,  # a group's calls have its deadline, and its scope, already
            self.deadline,
            task.submitted_at + (options.total_timeout or FOREVER),
            FOREVER if parent is None else parent.deadline,
            FOREVER if worker is None else min((due for due, _ in worker.limits), default=FOREVER),
        )
        if terms.deadline < FOREVER:
            task.at_end(self._call_off)
        if options.priority:
            self.line.keep_order()
        scope, terms.scope = terms.scope, None
        if scope is None and parent is not None:
            scope = parent.scope_of_children()
        if scope is not None and not task.join(scope):
            task.cancel()
        if options.has_policies and task.end is None:
            self._set_out(task, terms)

    def _set_out(self, task: Task, terms: Terms) -> None:
        """Prepare for a task that may have to wait for more than a worker."""
        terms.course = Course(task.submitted_at)
        task.at_end(self.parking.over)  # the last, so the first to be called: who sees the end finds room
        if terms.options.gates:
            self.line.keep_order()  # whoever had to wait for a limit keeps his age
        try:
            self.timers.start()
        except RuntimeError as error:
            self._refuse(task, error)

    def _follow_up(self, task: Task) -> None:
        self.look_after(task)
        terms = task.terms
        if terms is not None and terms.deadline < FOREVER and not task.done():
            try:
                task.on_terms().alarm = self.timers.at(terms.deadline, partial(self.time_out, task))
                if task.done():  # maybe just before it had an alarm to call off
                    self._call_off(task)
            except RuntimeError as error:  # no thread can be started; a call that runs already goes on without a limit
                refusal = error
                self._withdraw(task, lambda: refusal)

    def look_after(self, task: Task) -> None:
        """See to it that somebody takes a task that was put, or take it back and raise if work is refused."""
        is_closed = self.refusal is not None or interpreter_exit.is_near()
        stays = self.parking.held > 0 and self.staff.is_staffed  # who works does not leave before those who are held
        if is_closed and not stays:
            self._withdraw(task, self.refusal or interpreter_exit.refusal)
        elif self._short:
            try:
                self.staff_up()
            except RuntimeError as error:  # no thread can be started
                refusal = error
                if not is_closed:
                    self._withdraw(task, lambda: refusal)

    def welcome(self, task: Task) -> None:
        """See to it that somebody takes a task that has come back to the line."""
        try:
            if self._short:
                self.staff_up()
        except RuntimeError as error:  # no thread can be started: if there are others, they come for it
            if not self.staff.is_staffed and task.claim_waiting():
                task.books.failed_waiting.add()
                self._discard(task, error, "failed")

    def _call_off(self, task: Task) -> None:
        alarm = task.on_terms().alarm
        if alarm is not None:
            self.timers.call_off(alarm)

    def time_out(self, task: Task) -> None:
        """Called by the timer: the time that a task had for waiting and running is over."""
        since = task.submitted_at if task.course is None else task.course.submitted_at
        error = TaskTimeout(task.name, task.deadline - since, total=True)
        if not self.expire(task, error):
            self.stop_running(task, error)

    def expire(self, task: Task, error: Exception) -> bool:
        """End a task whose time is over before it began; False if it has begun, or ended."""
        if not task.claim_waiting():
            return False
        task.books.expired.add()
        self._discard(task, error, "timed out")
        return True

    # Without a place.

    def _waits_when_full(self, task: Task) -> bool:
        return (task.options.when_full or self._when_full) in ("block", "caller_runs")

    def _find_place(self, task: Task) -> bool:
        """Get a place where the fast path found none; False if the task needs none any more."""
        line = self.line
        if line.issue_place():
            return True
        options = task.options
        match options.when_full or self._when_full:
            case "block":
                return self._wait_for_place(task, options.submit_timeout or self._submit_timeout)
            case "reject":
                self._refuse(task, self._full("wait, raise queue_size, or choose another when_full"))
            case "caller_runs":
                self._refuse_loop(task)
                self.run_here(task)
            case "drop_newest" | "drop_oldest" | "drop_lowest" as policy if policy == "drop_newest" or self._hands_over:
                self.books.without_place.add()
                self._drop(task, policy)
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
            # A worker has just taken all that waits: it starts it in a moment, or puts it back if there is a pause.
            if line.wait_for_place(lambda: self.refusal is not None, MOMENT):
                return True
            if self.refusal is not None:
                return self._refuse(task, self.refusal())
            self._drop_parked(policy)
        self.books.without_place.add()
        self._drop(dropped, policy)
        self._follow_up(task)
        return False

    def _drop_parked(self, policy: str) -> None:
        """Make room among those who wait for something else than a worker, if only such wait."""
        if self.line.parked >= self.line.size:
            parked = self.parking.one_of(self, newest=policy == "drop_lowest")
            if parked is not None:
                self._drop(parked, policy)

    def _drop(self, task: Task, policy: str) -> None:
        if task.claim_waiting():
            task.books.dropped.add()
            self._discard(task, TaskDropped(task.name, policy), "dropped")

    def _discard(self, task: Task, error: BaseException, reason: str) -> None:
        name = task.name
        call_back(task, task.end_early(error))
        if self.listeners and task.counted:
            self.listeners.tell(TaskDiscarded(name, reason))

    def _refuse_loop(self, task: Task) -> None:
        if running_loop() is not None:
            remedy = "await pool.run(...) instead: this thread runs an event loop and must not be blocked"
            self._refuse(task, self._full(remedy))

    def _full(self, remedy: str) -> QueueFull:
        return QueueFull(self.line.waiting() + self.line.parked, self.line.size, remedy)

    def _refuse(self, task: Task, error: Exception) -> bool:
        self.books.without_place.add()
        self._withdraw(task, lambda: error)
        raise error

    def _withdraw(self, task: Task, error: Callable[[], Exception]) -> None:
        """Take a task back and raise, unless somebody else has taken it."""
        if task.withdraw():
            leave(task)
            if task.course is not None:
                self.parking.over(task)
            task.books.refused.add()
            raise error()

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """End all that waits with an error."""
        self.takes_back = False
        for task in self._drain():
            if task.claim_waiting():
                task.books.failed_waiting.add()
                self._discard(task, error(), "failed")
        for guest in self.guests:
            guest.fail_waiting(error)
