"""Where calls wait that may not run yet: for a limit of their own to have room, or for their next attempt.

A worker that has taken such a call asks here. If it may not run, it is parked, and the worker goes on. When its time
has come it stands in its pool's line again: a call that was held up by a limit with the age that it has, one that is
tried again as if it were submitted then. Whether it may run is decided anew when a worker takes it.

Guarantees:
    Nobody holds a worker while he waits here. A parked call keeps its ticket: it is cancelled, dropped or timed out
    as any that waits, and is gone from here at once.
    Who is held up by the same limits under the same key waits in one queue, in the order of the pool's line. One at
    a time is called to the line; what passes, gives up or ends has the next one looked at.
    Gates are passed all or none (`policy.gate`), and told of each end.

Locks:
    `_lock`, one for a pool with its sub-pools, re-entrant, since a finaliser may cancel: who is parked, and the state
    of all limits. Those of a line may be taken under it, never the other way round. No code of the user's, and
    nothing that hires, runs under it.

Races:
    Park against the end of a call. Who ends a future, or takes a call back, seizes its end, then calls `over`; who
    parks looks under the lock whether the end is seized. So the call is not parked, or `over` finds it.

    Park against workers that leave. They look at `held` before they look at the line a last time; who comes back is
    put in the line, and somebody is found for him, before `held` is lowered. When nobody is held any more, and the
    pool is over, the workers are woken to leave.

Shutdown:
    1. Workers stay as long as anybody is held. 2. With `cancel_futures`, who is parked is cancelled, and nobody is
    parked any more: a call whose attempt fails then fails. 3. Alarms are dropped with the pool's timers.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import CircuitOpen, QueueFull
from millhand.core.events import TaskDiscarded
from millhand.policy.gate import Gate, Limits
from millhand.policy.keyed import PerKey
from millhand.pool.course import Course, is_ending
from millhand.pool.future import RAISED, RETURNED
from millhand.pool.options import Options
from millhand.pool.task import Task, monotonic
from millhand.pool.timers import Alarm, Timers

if TYPE_CHECKING:
    from millhand.pool.attached import Callback
    from millhand.pool.front import Front
    from millhand.pool.order import Order

Perform: TypeAlias = "Callable[[], Sequence[Callback] | None]"


class Queue:
    """This is where calls wait that are held up by the same limits, under the same key, in one pool or sub-pool."""

    __slots__ = ("alarm", "called", "crew", "options", "order")

    def __init__(self, crew: Front, options: Options) -> None:
        self.crew, self.options = crew, options
        """Where it is, and under which limits and key: those of the first who came."""
        self.order: Order = crew.make_order()
        self.called = 0
        """How many were called to the pool's line, and have not asked yet."""
        self.alarm: Alarm | None = None


class Parking:
    """This is that of one crew, and of all sub-pools that borrow its workers.

    Args:
        timers: the pool's alarm clock.
    """

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._lock = threading.RLock()
        self._states: dict[Any, PerKey[Any]] = {}
        """Of each limit, as a value, the state for each key: for the life of the pool."""
        self._queues: dict[Hashable, dict[Hashable, Queue]] = {}
        """By bulkhead and key, since the end of a call lets others pass these; then by all else."""
        self._parked: dict[Task, Queue | Alarm] = {}
        self._returning: deque[Task] = deque()
        self.held = 0
        """How many are parked, or on their way to the line."""

    # For a worker.

    def attempt(self, task: Task, course: Course, perform: Perform) -> Sequence[Callback] | None:
        """Perform a call if it may run now; return the callbacks as `Task.perform` does, none if it is parked."""
        refused = self.ask(task, course)
        return self.come_back(task, course, perform()) if refused is None else refused

    def ask(self, task: Task, course: Course) -> Sequence[Callback] | None:
        """Let a call pass its gates, or park it, or end it; None: it may run, else callbacks."""
        options, refusal, may_run = task.options, None, True
        now = monotonic()
        if options.gates:
            with self._lock:
                may_run, refusal = self._pass(task, course, options, now)
            self._send_back()
        if may_run or refusal is not None:
            course.set_out(task, now)
        if refusal is not None:
            return self._refuse(task, course, refusal, now)
        return None if may_run else self._check(task)

    def come_back(self, task: Task, course: Course, callbacks: Sequence[Callback] | None) -> Sequence[Callback] | None:
        """Park a call whose attempt has failed, if another is to follow; return the callbacks, None if it timed out."""
        wait, error, course.wait, course.error = course.wait, course.error, None, None
        if wait is None:
            return callbacks
        with self._lock:
            self._note_end(task, course, error)
        self._send_back()
        del error
        if not course.rewind(task):
            return None
        return self._delay(task, wait)

    def _pass(self, task: Task, course: Course, options: Options, now: Instant) -> tuple[bool, Exception | None]:
        """Return whether a call may run, and if not, with what it is to be refused; None: it is parked."""
        queue = self._queue_of(task, options)
        called = self._uncall(course, queue)
        if is_ending(task) or task.deadline <= now:
            self._look(queue)
            return True, None  # whoever performs it finds that out, too
        limits = Limits(*self._gates(options, now))
        refusal = limits.refusal(now)
        is_to_wait = options.when_limited == "wait" and not isinstance(refusal, CircuitOpen)
        may_run = refusal is None and (called or not is_to_wait or queue is None)
        if may_run:
            limits.take(now)
            course.passed_at = now
        elif is_to_wait:
            refusal = self._queue_up(task, course, options, now)
        if may_run or refusal is not None:
            self._leave_line(task, course, now)
        self._look(queue or self._queue_of(task, options))
        return may_run, refusal

    def _refuse(self, task: Task, course: Course, refusal: Exception, now: Instant) -> Sequence[Callback]:
        """End a call that may not run, or have it wait for its next attempt."""
        error = course.after(task, refusal, now)
        wait, course.wait, course.error = course.wait, None, None
        if error is None and wait is not None:
            return self._delay(task, wait)
        if error is None or not task.claim_waiting():
            return ()
        name, crew = task.name, task.crew
        crew.books.failed_waiting.add()
        callbacks = task.end_early(error)
        if crew.listeners:
            crew.listeners.tell(TaskDiscarded(name, "refused"))
        return callbacks

    def _delay(self, task: Task, wait: Seconds) -> Sequence[Callback]:
        task.submitted_at = due = monotonic() + wait
        with self._lock:
            if not is_ending(task):
                self._hold(task, self._timers.at(due, partial(self._ring_for, task)))
        return self._check(task)

    def _check(self, task: Task) -> Sequence[Callback]:
        """Look at what may have happened to a call just before it was parked."""
        if task.asked or not task.crew.may_park:
            task.cancel()
        elif task.deadline <= monotonic():
            task.crew.time_out(task)
        return ()

    @contextmanager
    def holding(self, crew: Front) -> Iterator[None]:
        """Have the workers stay while a call runs in another thread: it may have to be tried again."""
        with self._lock:
            self._count(crew, 1)
        try:
            yield
        finally:
            self._unhold(crew)

    # For those who end a call, or change their minds.

    def over(self, task: Task) -> None:
        """Called at the end of a call, before anybody else learns of it."""
        course: Course = task.terms.course  # type: ignore[union-attr,assignment]  # it has one, or nobody would call this
        now = monotonic()
        with self._lock:
            was_parked = self._unpark(task)
            queue = self._queue_of(task, task.options) if course.is_called else None
            self._uncall(course, queue)
            self._leave_line(task, course, now)
            self._note_end(task, course, _error_of(task))
            self._look(queue)
        course.let_go()
        if was_parked:
            self._unhold(task.crew)
        self._send_back()

    def reprioritise(self, task: Task, priority: int) -> bool:
        """Give a call another priority, parked or in its line; False if it does not wait."""
        line = task.crew.line
        line.keep_order()  # what is parked now stands there next
        with self._lock:  # also for the line, or it could be parked in between, and stand in two orders
            place = self._parked.get(task)
            if place is None:
                return line.reprioritise(task, priority)
            if isinstance(place, Queue):
                return place.order.reprioritise(task, priority)
            task.priority = priority
            return True

    def parked(self, crew: Front) -> list[Task]:
        """Return all that is parked of one pool or sub-pool, in the order in which they came."""
        with self._lock:
            return [task for task in self._parked if task.crew is crew]

    def one_of(self, crew: Front, *, newest: bool) -> Task | None:
        """Return who was parked first, or last."""
        with self._lock:
            parked = reversed(self._parked) if newest else iter(self._parked)
            return next((task for task in parked if task.crew is crew), None)

    # Under the lock: the queues.

    def _queue_of(self, task: Task, options: Options) -> Queue | None:
        """Return the queue that a call may have to join; None: nobody waits there."""
        others = self._queues.get((options.bulkhead, options.key))
        return None if others is None else others.get((task.crew, options.breaker, options.rate))

    def _queue_up(self, task: Task, course: Course, options: Options, now: Instant) -> QueueFull | None:
        """Park a call until its limits have room; return the error if as many wait as may."""
        bulkhead = options.bulkhead
        if bulkhead is not None and not course.is_in_line:
            try:
                self._state(bulkhead, options.key, now).join_line()
            except QueueFull as error:
                return error
            course.is_in_line = True
        queues = self._queues.setdefault((bulkhead, options.key), {})
        queue = queues.setdefault((task.crew, options.breaker, options.rate), Queue(task.crew, options))
        queue.order.push(task)
        self._hold(task, queue)
        return None

    def _look(self, queue: Queue | None) -> None:
        """Call the next of a queue to the line if it may run, or set an alarm for when it may."""
        if queue is None or queue.called:
            return
        if not len(queue.order):
            self._close(queue)
            return
        now = monotonic()
        limits = Limits(*self._gates(queue.options, now))
        wait = 0.0 if isinstance(limits.refusal(now), CircuitOpen) else limits.wait_needed(now)
        if wait == 0.0:
            task: Task = queue.order.pop()
            queue.called += 1
            task.terms.course.is_called = True  # type: ignore[union-attr]  # it has one, or it would not be here
            self._release(task)
        elif wait < math.inf and queue.alarm is None:
            queue.alarm = self._timers.at(now + wait, partial(self._ring, queue))

    def _close(self, queue: Queue) -> None:
        if queue.alarm is not None:
            self._timers.call_off(queue.alarm)
        options, shared = queue.options, (queue.options.bulkhead, queue.options.key)
        queues, name = self._queues.get(shared, {}), (queue.crew, options.breaker, options.rate)
        if queues.get(name) is queue:  # or it is closed already
            del queues[name]
            if not queues:
                del self._queues[shared]

    def _uncall(self, course: Course, queue: Queue | None) -> bool:
        """Note that a call has come that was called, or never will; return whether it was."""
        called, course.is_called = course.is_called, False
        if called and queue is not None:
            queue.called -= 1
        return called

    def _leave_line(self, task: Task, course: Course, now: Instant) -> None:
        if course.is_in_line:
            course.is_in_line = False
            self._state(task.options.bulkhead, task.key, now).leave_line()

    def _note_end(self, task: Task, course: Course, error: BaseException | None) -> None:
        """Tell the gates that a call has passed of its end, once, and look at those for whom that makes room."""
        started, course.passed_at = course.passed_at, None
        if started is None:
            return
        options, now = task.options, monotonic()
        for state in self._gates(options, now):
            state.ended(now, started=started, error=error)
        if options.bulkhead is not None:
            for queue in tuple(self._queues.get((options.bulkhead, options.key), {}).values()):
                self._look(queue)

    def _gates(self, options: Options, now: Instant) -> list[Gate]:
        return [self._state(gate, options.key, now) for gate in options.gates]

    def _state(self, gate: Any, key: Hashable, now: Instant) -> Any:
        per_key = self._states.get(gate)
        if per_key is None:
            per_key = self._states[gate] = PerKey(gate.fresh)
        return per_key.at(key, now)

    # Under the lock: who is held.

    def _hold(self, task: Task, place: Queue | Alarm) -> None:
        crew = task.crew
        self._parked[task] = place
        crew.line.parked += 1
        self._count(crew, 1)

    def _count(self, crew: Front, by: int) -> None:
        crew.held += by
        self.held += by

    def _unpark(self, task: Task) -> bool:
        """Take a call out that will not come back; return whether it was parked. Then it is to be unheld."""
        place = self._parked.pop(task, None)
        if isinstance(place, Queue):
            place.order.remove(task)
            self._look(place)
        elif place is not None:
            self._timers.call_off(place)
        if place is not None:
            task.crew.line.parked -= 1
        return place is not None

    def _release(self, task: Task) -> None:
        del self._parked[task]
        line = task.crew.line
        line.put_beyond(task)
        line.parked -= 1  # second: it is never counted nowhere
        self._returning.append(task)

    # Without the lock.

    def _ring(self, queue: Queue) -> None:
        with self._lock:
            queue.alarm = None
            self._look(queue)
        self._send_back()

    def _ring_for(self, task: Task) -> None:
        with self._lock:
            if task in self._parked:
                self._release(task)
        self._send_back()

    def _send_back(self) -> None:
        """See to it that somebody takes those who were put in the line."""
        while self._returning:
            try:
                task = self._returning.popleft()
            except IndexError:  # another thread was quicker
                return
            task.crew.welcome(task)
            self._unhold(task.crew)

    def _unhold(self, crew: Front) -> None:
        """Note that one is not held any more, and tell those who wait for the last one, or for his place."""
        with self._lock:
            self._count(crew, -1)
        if crew.line.bell:
            crew.line.ring()
        if not crew.held:
            crew.none_is_held()
        if not self.held and crew.staff is not crew:
            crew.staff.none_is_held()


def _error_of(task: Task) -> BaseException | None:
    if task.end is RETURNED:
        return None
    # One that was cancelled, or withdrawn, says nothing of whom it was for.
    return cast("BaseException", task.exception()) if task.end is RAISED else CancelledError()
