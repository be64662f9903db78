"""The limits of running calls: who runs past its timeout is told of at once, at next to no cost for the others.

A timeout seldom strikes, so a call does not set an alarm and call it off: its worker notes when its time is
over, and has one alarm, which looks at the notes when it rings and is set again for the next of them. With one
timeout for all calls it rings once in that time, not once a call.

Races:
    A worker notes, then looks whether its alarm is set; the alarm forgets that it is set, then looks at the
    notes. So at least one of them sees the other; if both do, the alarm is set twice, which harms nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from millhand.core.clock import Instant
from millhand.pool.task import Task, monotonic
from millhand.pool.terms import FOREVER
from millhand.pool.timers import Timers
from millhand.pool.worker import Worker


class Overdue:
    """This watches the running calls of one crew.

    Args:
        timers: where the alarms are set.
        strike: called by the timer with a worker and the task in it whose time is over.
    """

    def __init__(self, timers: Timers, strike: Callable[[Worker, Task], None]) -> None:
        self._timers, self._strike = timers, strike

    def watch(self, worker: Worker, task: Task, due: Instant) -> None:
        """Have a task's limit kept, until `done`. Raises RuntimeError if there is no thread for the alarm."""
        worker.limits.append((due, task))
        if due < worker.alarm_at:
            self._set(worker, due)

    def done(self, worker: Worker) -> None:
        """Forget the limit of the task that the worker was watched for last."""
        worker.limits.pop()

    def _set(self, worker: Worker, due: Instant) -> None:
        if worker.alarm is not None:
            self._timers.call_off(worker.alarm)
        worker.alarm_at = due
        worker.alarm = self._timers.at(due, partial(self._look, worker))

    def _look(self, worker: Worker) -> None:
        worker.alarm_at = FOREVER
        now = monotonic()
        limits = tuple(worker.limits)
        left = [due for due, _ in limits if due > now]
        for due, task in limits:
            if due <= now:
                self._strike(worker, task)
        if left and min(left) < worker.alarm_at:
            self._set(worker, min(left))
