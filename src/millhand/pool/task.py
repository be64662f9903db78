"""One submitted call: the future that the caller holds, together with what is to be called.

They are one object because a task's cost is mostly garbage collection: each further container per task (a
tuple for the call, the future's `__dict__`, empty keyword arguments) made submitting 15 to 30 % slower. For the
same reason what only tasks with options need is a record of its own (`pool.terms`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import TaskCancelled
from millhand.pool.attached import Callback
from millhand.pool.current import here, mark_inside, shield
from millhand.pool.future import CANCELLED, RAISED, RETURNED, End, Future
from millhand.pool.interrupt import Guard, Interrupted
from millhand.pool.options import NO_OPTIONS, Options, check_priority
from millhand.pool.scope import Scope
from millhand.pool.stats import QUICK, Books, Tally
from millhand.pool.terms import FOREVER, PLAIN, Terms

if TYPE_CHECKING:
    from millhand.pool.admission import Admission
    from millhand.pool.course import Course
    from millhand.pool.order import Turn
    from millhand.pool.worker import Worker

_AGREEING = threading.RLock()

monotonic = time.monotonic
log = logging.getLogger("concurrent.futures")  # where the stdlib's pools report the same mishaps


class Task(Future[Any]):
    """This is the future of a call in a pool, and to the pool the call itself.

    Whoever submits knows it as a Future; `current_task` returns it to the code that it runs.
    """

    __slots__ = ("_args", "_fn", "_kwargs", "context", "crew", "submitted_at", "terms", "turn")

    counted: ClassVar[bool] = True
    """Whether it is a call of its own, and no errand for others."""
    turn: Turn | None
    """Its place in an order; only of a task that has waited in a line that is ordered."""

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
        self.context: Any = context or None
        self.crew = crew
        self.terms: Terms | Options | None = options
        """None: there is nothing to take care of but the call."""
        self.submitted_at: Instant = monotonic()

    # For the one who holds it.

    def cancel(self, *, running: bool = False) -> bool:
        """Drop the call if no worker has taken it; with `running`, ask it to stop if one has: see Future."""
        with shield():
            cancelled, may_run = super().cancel(), running and self._end is None
            if not cancelled and may_run:
                self.stop()
            return cancelled or may_run

    def set_priority(self, priority: int) -> bool:
        """Have the call run as if it had been submitted with this priority: see Future."""
        check_priority(priority)
        with shield():
            return self.crew.reprioritise(self, priority)

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
        deadline = min((self.deadline, *(due for due, _ in limits)))
        return None if deadline == FOREVER else max(0.0, deadline - monotonic())

    def check_cancelled(self) -> None:
        """Raise TaskCancelled or TaskTimeout if the call should stop."""
        if self._end is RAISED:
            raise self._value
        if self._end is not None or self.asked:
            raise TaskCancelled(self.name)

    # For a crew that runs calls elsewhere than in its own threads.

    @property
    def call(self) -> Any:
        """What is called; None once that has ended."""
        return self._fn

    @property
    def asked(self) -> bool:
        """Whether it was asked to stop while it ran."""
        return (self.terms or PLAIN).asked

    def pack(self, pack: Callable[[Any, Any, Any], Callable[[], Any]]) -> None:
        """Call what `pack` makes of function, arguments and keyword arguments; contextvars do not go with it."""
        self._fn = pack(self._fn, self._args, self._kwargs or {})
        self._args, self._kwargs, self.context = (), None, None

    def step_back(self) -> None:
        """Wait again, after its ticket was taken and nothing came of that."""
        self._ticket = None

    # For the crew.

    seize_end = Future._seize_end  # noqa: SLF001 - its own base class
    conclude = Future._conclude  # noqa: SLF001 - its own base class
    call_back = Future._call_back  # noqa: SLF001 - its own base class
    take_ticket = Future._take_ticket  # noqa: SLF001 - its own base class
    claim_waiting = Future._claim_waiting  # noqa: SLF001 - its own base class
    claim_running = Future._claim_running  # noqa: SLF001 - its own base class

    def perform(self, tally: Tally, guard: Guard | None = None) -> Sequence[Callback] | None:
        """Take the ticket, call the function, and end the future; return the callbacks to be called.

        Without the ticket, nothing happens: the call was cancelled, or timed out while it waited. None if the
        future has ended before the call has: it timed out while it ran, and is counted as that.
        """
        try:
            del self._ticket
        except AttributeError:
            return ()
        tally.started += 1
        fn, args, kwargs, context = self._fn, self._args, self._kwargs, self.context
        self._args = self._kwargs = self.context = None
        if context is None:
            context = tally.fresh()
        else:
            context.run(mark_inside)
        if guard is not None:
            fn = partial(guard.call, fn)
        try:
            value = context.run(fn, *args, **kwargs) if kwargs else context.run(fn, *args)
        except BaseException as error:  # noqa: BLE001 - the edge of a worker: also SystemExit ends only this task
            # Without this frame, which would keep the arguments, and this future in a circle, alive.
            trace = error.__traceback__
            return self.finish(RAISED, error.with_traceback(trace and trace.tb_next), tally)
        # What follows is `finish` for a call that returned, in one piece: it is a tenth of all that a task costs.
        now = monotonic()
        if now - tally.mark > QUICK or not tally.started & tally.mask:
            tally.time(self, now)
        tally.mark = now
        try:
            del self._open
        except AttributeError:
            self._fn = None
            return None
        # Count first, be idle first: who sees the end may look at the stats or submit again at once, and must
        # find the one right and this worker free, or the crew would hire one more than was asked for.
        tally.done += 1
        tally.idle = True
        self._fn = None
        self._value = value
        self._end = RETURNED
        attached = self._attached
        return () if attached is None else self._tell(attached, RETURNED)

    def finish(self, end: End, value: object, tally: Tally) -> Sequence[Callback] | None:
        """End the future as the one who took the ticket; return the callbacks to be called.

        None if it has ended before: it timed out, and is counted as that.
        """
        tally.lap(self)
        if end is RAISED and self.course and (value := self.course.after(self, value, tally.mark)) is None:  # type: ignore[arg-type]  # it was raised
            return ()  # another attempt is to follow: whoever has let it begin one parks it
        if not self.seize_end():
            self._fn = None
            return None
        if end is RETURNED:
            tally.done += 1
        elif isinstance(value, CancelledError | Interrupted) and self.asked:
            self.crew.books.stopped.add()
            end = CANCELLED
        else:
            tally.failed += 1
        tally.idle = True
        self._fn = None
        return self._conclude(end, value)

    def fail(self, error: BaseException, tally: Tally) -> Sequence[Callback]:
        """End the future with an error instead of calling the function; return the callbacks to be called."""
        if not self.claim_waiting():
            return ()
        tally.started += 1
        tally.failed += 1
        return self.end_early(error)

    def end_early(self, error: BaseException) -> Sequence[Callback]:
        """End the future as the one who took the ticket and seized the end, of a call that never ran."""
        self._drop_call()
        return self._conclude(RAISED, error)

    @property
    def books(self) -> Books:
        """Where its end is counted."""
        return self.crew.books

    def withdraw(self) -> bool:
        """Take the call back before anybody runs it, as if it had never been submitted."""
        if not self.claim_waiting():  # first: a worker that has it is about to read the call
            return False
        self._drop_call()
        return True

    # Its terms, as if it always had some.

    @property
    def options(self) -> Options:
        """What was asked for it."""
        return (self.terms or PLAIN).options

    @property
    def priority(self) -> int:
        """Higher runs sooner."""
        terms = self.terms
        return 0 if terms is None else terms.options.priority

    @priority.setter
    def priority(self, priority: int) -> None:
        terms = self.on_terms()
        terms.options = replace(terms.options, priority=priority)

    @property
    def key(self) -> Hashable:
        """Whom it is for, in a fair order."""
        return (self.terms or PLAIN).options.key

    @property
    def deadline(self) -> Instant:
        """When it must have ended, monotonic; infinite if there is no such time."""
        return (self.terms or PLAIN).deadline

    @property
    def course(self) -> Course | None:
        """What it goes through, if it has policies."""
        return (self.terms or PLAIN).course

    @property
    def worker(self) -> Worker | None:
        """Who runs it; None before, and if it has no terms."""
        return (self.terms or PLAIN).worker

    @property
    def scope(self) -> Scope | None:
        """By what it may be cancelled."""
        return (self.terms or PLAIN).scope

    @scope.setter
    def scope(self, scope: Scope | None) -> None:
        self.on_terms().scope = scope

    def on_terms(self) -> Terms:
        """Return its own terms, made now if there were none."""
        terms = self.terms
        if not isinstance(terms, Terms):
            with _AGREEING:
                terms = self.terms
                if not isinstance(terms, Terms):
                    terms = self.terms = Terms(terms or NO_OPTIONS)
        return terms

    # Its place in the tree of cancellation.

    @property
    def end(self) -> End | None:
        """How it ended, None if it has not."""
        return self._end

    @property
    def waits(self) -> bool:
        """Whether nobody has taken it, to run it or to drop it; only a look, for which nobody is held up."""
        return hasattr(self, "_ticket")

    def stop(self) -> None:
        """Cancel it, also when it is running, and all that it has submitted."""
        if super().cancel():
            return
        self.ask()
        if self.course is not None and super().cancel():  # an attempt has ended, and it waits for the next
            return
        self.crew.interrupt(self)  # before what it may wait for ends, or it may end first
        self.cancel_children()

    def ask(self) -> None:
        """Let it find out, when it looks, that it is to stop; and cancel what it submits from now on."""
        terms = self.on_terms()
        terms.asked = True  # then the look for its scope and its guard: whoever makes these does it the other way round
        if terms.own_scope is not None:
            terms.own_scope.seal()

    def cancel_children(self) -> None:
        """Cancel all that it has submitted."""
        own_scope = (self.terms or PLAIN).own_scope
        if own_scope is not None:
            own_scope.cancel()

    def is_over(self) -> bool:
        """Return whether its code has ended; one that was asked to stop, as all are that time out, may go on."""
        return self._end is not None and not self.asked

    def scope_of_children(self) -> Scope:
        """Return the scope of what this running call submits. Only for the thread that runs it."""
        terms = self.on_terms()
        scope = terms.own_scope
        if scope is None:
            scope = terms.own_scope = Scope(terms.scope)
            self.at_end(Task._dissolve)
            if terms.asked:  # it timed out, and goes on nevertheless
                scope.seal()
        return scope

    def join(self, scope: Scope) -> bool:
        """Enter a scope, to leave it at the end; False if that scope is cancelled already. Only before it can run."""
        self.at_end(scope.let_go)
        return scope.add(self)

    def at_end(self, hook: Callable[[Task], object]) -> None:
        """Have the pool's own `hook(task)` called at the end, before anybody else learns of it."""
        self._attach().hooks.append(hook)  # type: ignore[arg-type]  # it is called with this task

    def call_first(self, callback: Callback) -> None:
        """Have a callback called before all others. Only for a hook: the callbacks are called after it."""
        self._attach().callbacks.insert(0, callback)

    def _dissolve(self) -> None:
        terms = self.on_terms()
        if terms.own_scope is not None:
            terms.own_scope.dissolve(self)

    def _count_cancel(self) -> None:
        self.crew.books.cancels.add()

    def _end_as_cancelled(self) -> None:
        self._drop_call()
        super()._end_as_cancelled()

    def _drop_call(self) -> None:
        self._fn = self._args = self._kwargs = self.context = None

    # Waiting for it inside of its own pool.

    def _wait(self, timeout: Seconds | None) -> End:
        worker = here.worker
        if worker is None or worker.crew is not self.crew.staff:
            return super()._wait(timeout)
        with shield():
            return self.crew.staff.wait_inside(worker, self, timeout)

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # the stdlib's is a plain attribute
        # Only the standard library's `wait` and `as_completed` ask for it: they are about to wait.
        worker = here.worker
        if worker is not None and worker.crew is self.crew.staff and self._end is None:
            self.crew.staff.expect_wait(worker)
        return super()._condition


def call_back(task: Task, callbacks: Sequence[Callback] | None) -> None:
    """Call a task's callbacks; a SystemExit in one of them is nothing to end a worker for."""
    try:
        task.call_back(callbacks or ())
    except BaseException:  # the edge of a worker; Task.call_back itself logs what is an Exception
        log.critical("Exception in worker", exc_info=True)
