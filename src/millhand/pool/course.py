"""What a call with policies has behind it, and what it needs to run again.

Races:
    An attempt that ends against its time limit. Whoever ends the future of a running call, and `rewind`, which has it
    wait again, agree under one lock: it is ended, or it waits, never both.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import CircuitOpen, RateLimited
from millhand.pool.future import INSTALLING
from millhand.pool.terms import FOREVER

if TYPE_CHECKING:
    from millhand.pool.attached import Callback
    from millhand.pool.task import Task

# ruff: noqa: SLF001 - a course is a part of its task, as its terms are: it puts back what `Task.perform` has taken

_chance = random.Random()


class Course:
    """This is that of one call. All but `after` and `rewind` belongs to the parking (`pool.parking`)."""

    __slots__ = (
        "_call",
        "attempt",
        "error",
        "first_start",
        "is_called",
        "is_in_line",
        "passed_at",
        "submitted_at",
        "wait",
    )

    def __init__(self, submitted_at: Instant) -> None:
        self.submitted_at = submitted_at
        """When it was submitted; its task says since when it is ready for its next attempt."""
        self.attempt = 0
        """The number of its last attempt. One that its gates refused counts."""
        self.first_start: Instant | None = None
        self.wait: Seconds | None = None
        """How long it is to wait for the next attempt, now that the last one has ended."""
        self.error: BaseException | None = None
        """What that raised, as long as its gates have not been told."""
        self.passed_at: Instant | None = None
        """When its gates let it through; None when they have been told of its end."""
        self.is_called = False
        """It stands in the pool's line, to ask its gates again."""
        self.is_in_line = False
        """Its bulkhead counts it as waiting."""
        self._call: tuple[Sequence[Any], Mapping[str, Any] | None, Any] | None = None

    def set_out(self, task: Task, now: Instant) -> None:
        """Begin an attempt: keep what the call will be stripped of."""
        self.attempt += 1
        if self.first_start is None:
            self.first_start = now
        if self._call is None and task.options.retry is not None:
            self._call = task._args, task._kwargs, _copy(task.context)  # as it is before the first attempt

    def after(self, task: Task, error: BaseException, now: Instant) -> BaseException | None:
        """Decide what follows an attempt that failed, or was refused; None: another one, in `wait` seconds.

        Else what the call is to raise. Calls a predicate of the user's, so not to be called under a lock.
        """
        retry = task.options.retry
        if retry is None or task.end is not None or task.asked or not task.crew.may_park:
            return error
        first = now if self.first_start is None else self.first_start
        try:
            wait = retry.wait_after(error, attempt=self.attempt, first_start=first, now=now, chance=_chance)
        except BaseException as raised:  # noqa: BLE001 - the user's predicate: the call fails with what it raised
            return raised.with_traceback(raised.__traceback__ and raised.__traceback__.tb_next)
        if wait is None:
            return error
        if isinstance(error, CircuitOpen | RateLimited):
            wait = max(wait, error.seconds)
        if now + wait > min(task.deadline, first + (retry.deadline or FOREVER)):
            return error
        self.wait, self.error = wait, error
        return None

    def rewind(self, task: Task) -> bool:
        """Have a call wait again, as it was before its attempt; False if its future has ended meanwhile."""
        with INSTALLING:
            if self._call is None or not hasattr(task, "_open"):
                return False
            task.crew.books.retried.add()  # before anybody can start it again
            task._args, task._kwargs, context = self._call
            task.context = _copy(context)
            task._ticket = None
            return True

    def let_go(self) -> None:
        """Drop what was kept, at the end of the call."""
        self._call = self.error = None


def is_ending(task: Task) -> bool:
    """Return whether somebody has seized a task's end: the parking has learnt of that, or is about to."""
    return not hasattr(task, "_open")


def outcome_of(task: Task, callbacks: Sequence[Callback] | None) -> str:
    """Return what listeners are told of a call that a worker is through with."""
    if callbacks is not None and task.course is not None and task.course.wait is not None:
        return "retried"
    return "timed out" if callbacks is None or task.end is None else task.end.value


def _copy(context: Any) -> Any:
    return context.copy() if isinstance(context, Context) else context
