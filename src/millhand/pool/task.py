"""One submitted call: the future that the caller holds, together with what is to be called.

They are one object because a task's cost is mostly garbage collection: each further container per task (a
tuple for the call, the future's `__dict__`, empty keyword arguments) made submitting 15 to 30 % slower. For the
same reason the slots that only tasks with options need are left empty in the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import TaskCancelled, TaskDropped, TaskTimeout
from millhand.pool.current import here
from millhand.pool.future import CANCELLED, RAISED, RETURNED, Callback, End, Future
from millhand.pool.interrupt import Guard, Interrupted
from millhand.pool.options import Options, check_priority
from millhand.pool.scope import Scope, leave
from millhand.pool.stats import Books, Tally

if TYPE_CHECKING:
    import threading

    from millhand.pool.admission import Admission
    from millhand.pool.order import Entry
    from millhand.pool.timers import Alarm
    from millhand.pool.worker import Worker

FOREVER: Instant = float("inf")

monotonic = time.monotonic
log = logging.getLogger("concurrent.futures")  # where the stdlib's pools report the same mishaps


class Task(Future[Any]):
    """This is the future of a call in a pool, and to the pool the call itself.

    Whoever submits knows it as a Future; `current_task` returns it to the code that it runs.
    """

    __slots__ = (
        "_args",
        "_asked",
        "_context",
        "_crew",
        "_fn",
        "_kwargs",
        "_own_scope",
        "alarm",
        "deadline",
        "entry",
        "guard",
        "options",
        "scope",
        "submitted_at",
        "worker",
    )

    entry: Entry
    """Its place in an order; only while it waits in a line that is ordered."""
    options: Options | None
    """None: there is nothing to take care of but the call, and the slots below are empty."""
    scope: Scope | None
    deadline: Instant
    """When it must have ended, monotonic; FOREVER if there is no such time."""
    alarm: Alarm | None
    worker: Worker | None
    """Who runs it; None before."""
    guard: Guard | None
    """What lets it be interrupted, for a task that asked for that."""

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        crew: Admission,
        context: Context | None,
        options: Options | None,
    ) -> None:
        # Without Future.__init__: this runs once per submit, and the call would cost 5 % of it.
        self._ticket = None
        self._open = True
        self._end = None
        self._attached = None
        self._fn: Any = fn
        self._args: Any = args
        self._kwargs: Any = kwargs or None
        # Most contexts are empty, and an empty one need not be kept while the task waits: 15 % of a submit.
        self._context: Any = context or None
        self._crew = crew
        self.options = options
        self.submitted_at: Instant = monotonic()

    # For the one who holds it.

    def cancel(self, *, running: bool = False) -> bool:
        """Drop the call if no worker has taken it; with `running`, ask it to stop if one has.

        A call that is asked to stop notices it at its next `check_cancelled`, or at once if it was submitted
        with `interrupt=True`; a coroutine is cancelled. Whatever it has submitted is cancelled with it. If it
        ends by TaskCancelled, its future is cancelled; if it takes no notice, it ends as it does.

        Returns:
            Whether the future is cancelled; with `running`, also whether the call was asked.
        """
        if super().cancel():
            return True
        if not running or self._end is not None:
            return False
        self.stop()
        return True

    def set_priority(self, priority: int) -> bool:
        """Have the call run sooner or later, as if it had been submitted with this priority; O(log n).

        Returns:
            Whether it was still waiting; if not, nothing happens.

        Raises:
            ValueError: priority is no whole number.
        """
        check_priority(priority)
        return self._crew.reprioritise(self, priority)

    # For the code that it runs.

    @property
    def name(self) -> str:
        """The function's qualified name; empty once the call has ended."""
        fn = self._fn
        while isinstance(fn, partial):
            fn = fn.func
        return "" if fn is None else getattr(fn, "__qualname__", type(fn).__qualname__)

    @property
    def remaining(self) -> Seconds | None:
        """How long until it times out, 0 if it has; None if it never does. For the code that it runs."""
        limits = () if here.worker is None else here.worker.limits
        deadline: Instant = min((getattr(self, "deadline", FOREVER), *(due for due, _ in limits)))
        return None if deadline == FOREVER else max(0.0, deadline - monotonic())

    def check_cancelled(self) -> None:
        """Raise TaskCancelled or TaskTimeout if the call should stop."""
        if self._end is RAISED:
            raise self._value
        if self._end is not None or getattr(self, "_asked", False):
            raise TaskCancelled(self.name)

    # For the crew.

    seize_end = Future._seize_end  # noqa: SLF001 - its own base class
    conclude = Future._conclude  # noqa: SLF001 - its own base class
    call_back = Future._call_back  # noqa: SLF001 - its own base class
    take_ticket = Future._take_ticket  # noqa: SLF001 - its own base class

    def begin(self, tally: Tally) -> bool:
        """Take the ticket; return False if somebody else has it, so that the call must not run."""
        try:
            del self._ticket
        except AttributeError:
            return False
        tally.started += 1
        return True

    def perform(self, tally: Tally, guard: Guard | None = None) -> Sequence[Callback] | None:
        """Call the function, then `finish` with what it returned or raised, whatever that was."""
        fn, args, kwargs, context = self._fn, self._args, self._kwargs, self._context
        self._args = self._kwargs = self._context = None
        if context is None:
            context = Context()
        if guard is not None:
            fn = partial(guard.call, fn)
        end = RETURNED
        try:
            value = context.run(fn, *args, **kwargs) if kwargs else context.run(fn, *args)
        except BaseException as error:  # noqa: BLE001 - the edge of a worker: also SystemExit ends only this task
            # Without this frame, which would keep the arguments, and this future in a circle, alive.
            trace = error.__traceback__
            end, value = RAISED, error.with_traceback(trace and trace.tb_next)
        return self.finish(end, value, tally)

    def finish(self, end: End, value: object, tally: Tally) -> Sequence[Callback] | None:
        """End the future as the one who took the ticket; return the callbacks to be called.

        None if it has ended before: it timed out, and is counted as that.
        """
        run = tally.time(self.submitted_at, monotonic())
        try:
            del self._open
        except AttributeError:
            self._fn = None
            return None
        # Count first, be idle first: who sees the end may look at the stats or submit again at once, and must
        # find the one right and this worker free, or the crew would hire one more than was asked for.
        if end is RETURNED:
            tally.done += 1
        elif isinstance(value, TaskCancelled | Interrupted) and getattr(self, "_asked", False):
            self._crew.books.stopped.add()
            end = CANCELLED
        else:
            tally.failed += 1
        if run > tally.slow:
            tally.note_slow(run, self.name)
        self._fn = None
        tally.idle = True
        return self._conclude(end, value)

    def end_early(self, error: BaseException) -> Sequence[Callback]:
        """End the future as the one who took the ticket and seized the end, of a call that never ran."""
        self._drop_call()
        return self._conclude(RAISED, error)

    @property
    def books(self) -> Books:
        """Where its end is counted."""
        return self._crew.books

    def withdraw(self) -> bool:
        """Take the call back before anybody runs it, as if it had never been submitted."""
        self._drop_call()
        return self._take_ticket()

    def drop(self, policy: str) -> TaskDropped:
        """Return the error for a call that is dropped."""
        return TaskDropped(self.name, policy)

    def describe_timeout(self, timeout: Seconds, *, total: bool = False) -> TaskTimeout:
        """Return the error for a call that takes too long; only before its end, which lets go of the call."""
        return TaskTimeout(self.name, timeout, total)

    # Its place in the tree of cancellation.

    def stop(self) -> None:
        """Cancel it, also when it is running, and all that it has submitted."""
        if super().cancel():
            return
        self._asked = True
        self.cancel_children()
        self._crew.interrupt(self)

    @property
    def end(self) -> End | None:
        """How it ended, None if it has not."""
        return self._end

    def cancel_children(self) -> None:
        """Cancel all that it has submitted."""
        own_scope = getattr(self, "_own_scope", None)
        if own_scope is not None:
            own_scope.cancel()

    def scope_of_children(self) -> Scope:
        """Return the scope of what this running call submits. Only for the thread that runs it."""
        scope: Scope | None = getattr(self, "_own_scope", None)
        if scope is None:
            scope = self._own_scope = Scope(getattr(self, "scope", None))
            self.at_end(Task._dissolve)
            if getattr(self, "_asked", False) or self._end is not None:  # it timed out, and goes on nevertheless
                scope.cancel()
        return scope

    def join(self, scope: Scope) -> bool:
        """Enter a scope, to leave it at the end; False if that scope is cancelled already. Only before it can run."""
        self.at_end(leave)
        return scope.add(self)

    def at_end(self, hook: Callable[[Task], object]) -> None:
        """Have the pool's own `hook(task)` called at the end, before anybody else learns of it."""
        (self._attached or self._attach()).hooks.append(hook)  # type: ignore[arg-type]  # it is called with this task

    def _dissolve(self) -> None:
        self._own_scope.dissolve(getattr(self, "scope", None))

    def _count_cancel(self) -> None:
        self._crew.books.cancels.add()

    def _end_as_cancelled(self) -> None:
        self._drop_call()
        super()._end_as_cancelled()

    def _drop_call(self) -> None:
        self._fn = self._args = self._kwargs = self._context = None

    # Waiting for it inside of its own pool.

    def _wait(self, timeout: Seconds | None) -> End:
        worker = here.worker
        if worker is None or worker.crew is not self._crew.staff:
            return super()._wait(timeout)
        return self._crew.staff.wait_inside(worker, self, timeout)

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # the stdlib's is a plain attribute
        # Only the standard library's `wait` and `as_completed` ask for it: they are about to wait.
        worker = here.worker
        if worker is not None and worker.crew is self._crew.staff and self._end is None:
            self._crew.staff.expect_wait(worker)
        return super()._condition


def call_back(task: Task, callbacks: Sequence[Callback] | None) -> None:
    """Call a task's callbacks; a SystemExit in one of them is nothing to end a worker for."""
    try:
        task.call_back(callbacks or ())
    except BaseException:  # the edge of a worker; Task.call_back itself logs what is an Exception
        log.critical("Exception in worker", exc_info=True)
