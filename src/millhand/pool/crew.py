"""The threads of a pool at work: taking tasks, running them, keeping their limits, breaking.

Guarantees:
    A call that overstays its timeout fails on time, and its thread is written off and replaced at once.
    A call that waits for another one of its pool never waits for a worker that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from concurrent.futures.thread import BrokenThreadPool
from contextlib import nullcontext, suppress
from functools import partial
from queue import Empty
from typing import ClassVar

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import PoolClosed, TaskTimeout
from millhand.core.events import TaskEnded, TaskStarted, WorkerHired, WorkerWrittenOff
from millhand.pool import interpreter_exit
from millhand.pool.attached import Callback
from millhand.pool.carried import Carried
from millhand.pool.course import outcome_of
from millhand.pool.current import bare, here, mark_inside
from millhand.pool.future import RAISED, End, Future
from millhand.pool.interrupt import Guard
from millhand.pool.options import Settings
from millhand.pool.overdue import Overdue
from millhand.pool.roster import Roster
from millhand.pool.stats import Tally
from millhand.pool.task import Task, call_back, log, monotonic
from millhand.pool.terms import FOREVER, PLAIN, Terms
from millhand.pool.worker import Worker

INLINE_DEPTH = 20
"""How many calls a worker may run inside of each other, since Python's stack is not endless."""


class Crew(Roster):
    """This runs the tasks of one pool. It outlives the pool until all tasks have ended.

    Args:
        initializer: called first in each thread; if it raises, the pool is broken.
        The others are those of Roster.
    """

    broken: ClassVar[type[BrokenExecutor]] = BrokenThreadPool
    """What is raised once it is broken."""
    carried: ClassVar[type[Carried]] = Carried
    """How its maps are done."""

    def __init__(
        self, pool: object, size: int, name: str, settings: Settings, initializer: Callable[[], object] | None
    ) -> None:
        super().__init__(pool, size, name, settings)
        self._initializer = initializer
        self._overdue = Overdue(self.timers, self._strike)
        self._gave_up = False

    def work(self, worker: Worker, first: Callable[[], object] | None) -> None:
        """Be a worker, from the thread's start to its end."""
        here.worker = worker
        if worker.fresh is bare:
            mark_inside()
        try:
            if self._initialize():
                if self.listeners:
                    self.listeners.tell(WorkerHired(worker.name))
                if first is not None:
                    first()
                del first
                worker.mark = monotonic()
                self._serve(worker)
        finally:
            self.leave(worker)

    def _initialize(self) -> bool:
        try:
            if self._initializer is not None:
                self._initializer()
        except BaseException:  # noqa: BLE001 - the edge of a worker; the pool breaks with it
            log.critical("Exception in initializer:", exc_info=True)
            self.break_down("A thread initializer failed, the thread pool is not usable anymore")
            return False
        return True

    def _serve(self, worker: Worker) -> None:
        line, take, take_now = self.line, self.items.get, self.items.get_nowait
        while not worker.attention or self.may_stay(worker):
            worker.idle = True
            try:
                item = take_now()
            except Empty:
                worker.task = None  # before blocking: what nobody else holds can go
                item = take()
                worker.mark = monotonic()  # otherwise it is free for this task since the end of the last one
            if worker.attention:
                item = self.hold(worker, item)
            task = line.best(item) if line.ordered else item
            if task is None:
                if self.is_over() and not (self.parking.held or line.regroup()):
                    return  # a None is left: the next one leaves, too
                continue
            worker.idle = False
            worker.taken += 1
            if line.bell:
                line.ring()
            worker.task = task
            callbacks = task.perform(worker) if task.terms is worker.usual else self.perform(task, worker, worker)
            if callbacks:
                self._turn_to_callbacks(task, callbacks, worker)
            elif callbacks is None and self.is_written_off(worker):
                return
            del callbacks, item, task

    def perform(self, task: Task, tally: Tally, worker: Worker) -> Sequence[Callback] | None:
        """Perform a task that has terms, or is to be told of; return what `Task.perform` does."""
        course = None if task.terms is None else task.terms.course
        is_told = task.crew.listeners and task.counted and not task.done()
        if course is None and not is_told:
            return self._perform(task, tally, worker)
        perform = partial(self._perform_told if is_told else self._perform, task, tally, worker)
        return perform() if course is None else self.parking.attempt(task, course, perform)

    def _perform_told(self, task: Task, tally: Tally, worker: Worker) -> Sequence[Callback] | None:
        listeners = task.crew.listeners
        name, began = task.name, monotonic()
        listeners.tell(TaskStarted(name, worker.name, began - task.submitted_at))
        callbacks = self._perform(task, tally, worker)
        outcome = outcome_of(task, callbacks)
        listeners.tell(TaskEnded(name, worker.name, outcome, monotonic() - began))
        return callbacks

    def _perform(self, task: Task, tally: Tally, worker: Worker) -> Sequence[Callback] | None:
        terms = task.terms
        timeout, guard = (terms or PLAIN).options.timeout, None
        if isinstance(terms, Terms):
            if not self._agree(task, terms, tally, worker):
                return ()
            guard = terms.guard
        if timeout is None:
            return task.perform(tally, guard)
        try:
            self._overdue.watch(worker, task, tally.mark + timeout)
        except RuntimeError as error:  # no thread to be had for the timer: better no run than one without its limit
            worker.limits.pop()
            return task.fail(error, tally)
        try:
            return task.perform(tally, guard)
        finally:
            self._overdue.done(worker)

    def _agree(self, task: Task, terms: Terms, tally: Tally, worker: Worker) -> bool:
        """Prepare for a call of which something is to be noted; False if it is not to begin."""
        # Before the ticket is taken: whoever finds it taken, and wants to stop the call, looks here.
        terms.worker = worker
        tally.mark = now = monotonic()  # passing cancelled tasks, or the end of a pause, is no part of this run
        if terms.deadline <= now:  # its alarm is late, and to start it nevertheless would cost this worker
            self.time_out(task)
            return False
        if terms.scope is not None and terms.scope.cancelled:
            # Whoever cancels that comes to this call, but may have many to go through first. Not to be done here:
            # two threads that cancel, one call each in turn, take a hundred times as long as one.
            return False
        if terms.options.interrupt:
            terms.guard = Guard()
        return True

    def _turn_to_callbacks(self, task: Task, callbacks: Sequence[Callback], worker: Worker) -> None:
        # Not free yet, after all: a callback may take long, or wait for something that it submits.
        worker.idle = False
        worker.task = None
        if self._short:
            with suppress(RuntimeError):  # no thread to be had: this one will come for what waits
                self.staff_up()
        call_back(task, callbacks)
        worker.mark = monotonic()

    # Running a task elsewhere than in the loop.

    def run_here(self, task: Task) -> None:
        """Run a task in this thread, counted but without a place."""
        self.books.without_place.add()
        self.run_inside(task)

    def run_inside(self, task: Task) -> None:
        """Run a task in this thread, inside of whatever it is doing, unless somebody else has it."""
        outer = here.worker
        worker = outer if outer is not None and outer.crew is self else Worker(self, "caller")
        inside_of, worker.task, here.worker = worker.task, task, worker
        worker.depth += 1
        try:
            stay = nullcontext() if task.course is None else self.parking.holding(task.crew)
            with stay, task.crew.counted_beside() as tally:
                tally.mark = monotonic()
                plain = task.terms is None
                call_back(task, task.perform(tally) if plain else self.perform(task, tally, worker))
        finally:
            worker.depth -= 1
            worker.task, here.worker = inside_of, outer

    def wait_inside(self, worker: Worker, task: Task, timeout: Seconds | None) -> End:
        """Wait for a task in one of the workers: run it there and then, or have another worker stand in."""
        if timeout is None and self.may_run_inside(worker, task):
            self.run_inside(task)
            if task.end is not None:
                return task.end
        if timeout is not None and timeout <= 0:
            raise TimeoutError  # only a look: nobody need stand in
        with self.away(worker, task):
            return Future._wait(task, timeout)  # noqa: SLF001 - what the task's own _wait does elsewhere

    def may_run_inside(self, worker: Worker, task: Task) -> bool:
        """Return whether a worker may run this task inside of the one that it runs now."""
        options, outer = task.options, worker.task
        return not (
            worker.depth >= INLINE_DEPTH
            or self.paused
            or worker.written_off
            or not task.crew.admits(worker)
            or options.timeout is not None
            or options.interrupt
            or options.has_policies  # it may have to wait
            or task.deadline < self._deadline_of(worker)  # whoever waits for it must learn in time that it failed
            or (outer is not None and outer.options.interrupt)  # it would be raised inside of the inner call
        )

    @staticmethod
    def _deadline_of(worker: Worker) -> Instant:
        """Return when a worker is written off, or replaced, for what it runs now."""
        outer = FOREVER if worker.task is None else worker.task.deadline
        return min((outer, *(due for due, _ in worker.limits)))

    # Writing off.

    def is_written_off(self, worker: Worker) -> bool:
        """Return whether a worker whose task timed out must go; if not, it will not be written off for that task."""
        with self.roster:
            if not worker.written_off:
                worker.task = None
            return worker.written_off

    def interrupt(self, task: Task) -> None:
        """Raise in a running task that was submitted with `interrupt`."""
        guard = (task.terms or PLAIN).guard
        if guard is not None:
            guard.interrupt()

    def stop_running(self, task: Task, error: Exception) -> None:
        """Called by the timer: end a task that runs past its deadline, and replace the worker that is stuck in it."""
        worker = task.worker
        if worker is not None:
            self._write_off(worker, task, error)

    def _strike(self, worker: Worker, task: Task) -> None:
        error = TaskTimeout(task.name, task.options.timeout or 0.0)
        if not self.expire(task, error):  # its worker had only just come to it
            self._write_off(worker, task, error)

    def _write_off(self, worker: Worker, task: Task, error: Exception) -> None:
        if not task.claim_running():
            return
        task.books.overdue.add()
        task.ask()  # before the end: then its scope would hand up what it is to cancel
        name, struck_off = task.name, self._strike_off(worker, task)
        # Only then another worker: to start a thread is to wait for it, which takes long beside threads that compute.
        callbacks = task.conclude(RAISED, error)
        task.cancel_children()
        self.interrupt(task)
        # Callbacks are left to the new worker, since one that takes long, or submits to a full pool, must not hold up
        # all other timeouts.
        if not (struck_off and self._hire_another(partial(call_back, task, callbacks))):
            call_back(task, callbacks)
        if self.listeners and worker.written_off:
            self.listeners.tell(WorkerWrittenOff(worker.name, name))
        if self._gave_up:
            self._fail_waiting()

    def _strike_off(self, worker: Worker, task: Task) -> bool:
        """Let a worker that is stuck be no more of the crew; False if it is not, or goes on."""
        with self.roster:
            if worker not in self._workers:  # written off before, in a call around this one, or the submitter itself
                return False
            if worker.depth == 0 and worker.task is not task:  # the call returned at this very moment, and it goes on
                return False
            worker.written_off = worker.attention = True
            self._workers.discard(worker)
            self._away.discard(worker)
            self._stuck.add(worker)
            self.threads.discard(worker.thread)
            interpreter_exit.forget(worker.thread)
            if len(self._stuck) > self._size:
                self._give_up(self._stuck_calls())
            return True

    def _hire_another(self, first: Callable[[], object]) -> bool:
        """Hire a worker in the place of one that was struck off, which calls `first`; False if that cannot be done."""
        with self.roster:
            if self._gave_up:
                return False
            try:
                self.hire(first)
            except RuntimeError as error:
                self._give_up(f"{self._stuck_calls()}, and none can be added: {error}")
            return not self._gave_up

    def _stuck_calls(self) -> str:
        return f"{len(self._stuck)} of its threads are stuck in calls that overstayed their timeouts"

    def _give_up(self, reason: str) -> None:
        if not self._gave_up:
            self._gave_up = True
            self.refusal = partial(PoolClosed, f"this pool has given up: {reason}")

    def break_down(self, reason: str) -> None:
        """Break: refuse all work from now on, and fail what waits."""
        pool = self._pool()
        if pool is not None:
            pool._broken = reason  # type: ignore[attr-defined]  # noqa: SLF001 - where the stdlib keeps and shows it
        del pool
        with self.roster:
            self.refusal = partial(self.broken, reason)
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        """Fail what waits with the reason for which work is refused, and let everybody leave."""
        if self.refusal is not None:
            self.fail_waiting(self.refusal)
        self.line.close()
        self.note_departure()
