"""One submitted call: the future that the caller holds, together with what is to be called.

They are one object because a task's cost is mostly garbage collection: each further container per task (a
tuple for the call, the future's `__dict__`, empty keyword arguments) made submitting 15 to 30 % slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from millhand.core.clock import Seconds
from millhand.core.errors import TaskTimeout
from millhand.pool.future import RAISED, RETURNED, Callback, End, Future
from millhand.pool.stats import Counter, Tally


class Task(Future[Any]):
    """This is a future that can be run. Callers know it as a Future; the rest is for the crew."""

    __slots__ = ("_args", "_cancels", "_context", "_fn", "_kwargs", "timeout")

    def __init__(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], cancels: Counter
    ) -> None:
        # Without Future.__init__: this runs once per submit, and the call would cost 5 % of it.
        self._ticket = None
        self._open = True
        self._end = None
        self._watch = None
        self._fn: Any = fn
        self._args: Any = args
        self._kwargs: Any = kwargs or None
        # Most contexts are empty, and an empty one need not be kept while the task waits: 15 % of a submit.
        self._context: Any = copy_context() or None
        self._cancels = cancels
        self.timeout: Seconds | None = None

    # The crew's names for what callers have no business with.
    seize_end = Future._seize_end  # noqa: SLF001 - its own base class
    conclude = Future._conclude  # noqa: SLF001 - its own base class
    call_back = Future._call_back  # noqa: SLF001 - its own base class

    def begin(self, tally: Tally) -> bool:
        """Take the ticket; return False if somebody else has it, so that the call must not run."""
        try:
            del self._ticket
        except AttributeError:
            return False
        tally.started += 1
        return True

    def perform(self, tally: Tally) -> Sequence[Callback] | None:
        """Call the function, then `finish` with what it returned or raised, whatever that was."""
        fn, args, kwargs, context = self._fn, self._args, self._kwargs, self._context
        self._drop_call()
        if context is None:
            context = Context()
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
        try:
            del self._open
        except AttributeError:
            return None
        # Count first, be idle first: who sees the end may look at the stats or submit again at once, and must
        # find the one right and this worker free, or the crew would hire one more than was asked for.
        if end is RETURNED:
            tally.done += 1
        else:
            tally.failed += 1
        tally.idle = True
        return self._conclude(end, value)

    def withdraw(self) -> bool:
        """Take the call back before anybody runs it, as if it had never been submitted."""
        self._drop_call()
        return self._take_ticket()

    def describe_timeout(self, timeout: Seconds) -> TaskTimeout:
        """Return the error for a call that runs too long; only before `perform`, which lets go of the call."""
        fn = self._fn
        while isinstance(fn, partial):
            fn = fn.func
        return TaskTimeout(getattr(fn, "__qualname__", type(fn).__qualname__), timeout)

    def _note_cancelled(self) -> None:
        self._cancels.add()
        self._drop_call()

    def _drop_call(self) -> None:
        self._fn = self._args = self._kwargs = self._context = None
