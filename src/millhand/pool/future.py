"""The future of a call: a real `concurrent.futures.Future` that is cheap as long as nobody waits for it.

Guarantees
    A future ends once: it has one outcome, its callbacks run once, each waiter is told once.
    Whatever the standard library does with a future (wait, as_completed, wrap_future) works unchanged.

Atomic decisions
    Two tickets, each an attribute that somebody deletes. Deleting a slot is one C call that raises
    AttributeError when the slot is empty already, so under the GIL exactly one thread succeeds.
    1. `_ticket`: who takes the call, a worker to run it or `cancel` to drop it.
    2. `_open`: who ends the future, the worker, the timer, `cancel` or `set_result`.

Waiting without a Condition
    A Condition costs more than all the rest of a small task, and most tasks end before anybody waits. So who
    wants to be told attaches himself and then looks at the end, while the one who ends the future stores the
    end and then looks who is attached: at least one of them sees the other. Each attachment is taken off its
    list by one C call, so it is told once, whoever is quicker.
    `result` attaches a bare lock: a round trip through a Condition takes three times as long, most of it
    between the two threads' turns. The Condition is for the standard library, which looks for `_condition`.
    `_state`, which the standard library reads several times under it, follows `Watch.over`, which changes
    under it only: `wait` counts what is pending and would miscount if the state moved.

Locks
    `Watch.condition` protects the watch. `INSTALLING` makes two who attach first agree on one place, and two
    who end a call on different grounds on one of these. Taken in this order, both re-entrant, since a finaliser
    may cancel or wait; user code is called under neither.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, InvalidStateError
from concurrent.futures import Future as StandardFuture
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING, RUNNING
from contextlib import suppress
from enum import Enum
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, TypeVar, cast

from millhand.pool.attached import Attached, Callback, Watch
from millhand.pool.options import check_priority

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures._base import _Waiter

    from millhand.core.clock import Seconds

T = TypeVar("T")


class End(Enum):
    """How a future ended."""

    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "cancelled"


RETURNED, RAISED, CANCELLED = End  # names of their own: an attribute of an Enum costs 30 ns on 3.11

INSTALLING = threading.RLock()


def running_loop() -> AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread, if any.

    Looked up among the loaded modules: a loop runs only where asyncio was imported, and importing it here
    would double what `import millhand` costs those who do not use it.
    """
    get_running_loop = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    return get_running_loop() if get_running_loop else None


class Future(StandardFuture[T]):
    """This stands for the outcome of a submitted call.

    Everything that `concurrent.futures.Future` promises, and it can be awaited in asyncio. One difference: a
    cancelled future counts as notified at once, so `wait` and `as_completed` need no worker to come by.
    """

    __slots__ = ("_attached", "_end", "_open", "_ticket", "_value")

    def __init__(self) -> None:
        # Not super().__init__: the Condition, the lists and the state that it makes are derived below.
        self._ticket: object = None
        self._open = True
        self._end: End | None = None
        self._value: Any = None
        self._attached: Attached | _thread.LockType | None = None

    def cancel(self, *, running: bool = False) -> bool:
        """Drop the call if no worker has taken it; with `running`, ask it to stop if one has.

        A call that is asked to stop notices it at its next `check_cancelled`, or at once if it was submitted
        with `interrupt=True`; a coroutine is cancelled. Whatever it has submitted is cancelled with it. If it
        ends by TaskCancelled, its future is cancelled; if it takes no notice, it ends as it does.

        Returns:
            Whether the future is cancelled; with `running`, also whether the call was asked.
        """
        if self._end is None:
            with INSTALLING:  # a second caller waits for the answer of the first
                decided = self._claim_waiting()
                if decided:
                    self._count_cancel()
                    self._end = CANCELLED
            if decided:
                self._end_as_cancelled()
        return self.cancelled()

    def set_priority(self, priority: int) -> bool:
        """Have the call run sooner or later, as if it had been submitted with this priority; O(log n).

        Returns:
            Whether it was still waiting; if not, nothing happens.

        Raises:
            ValueError: priority is no whole number.
        """
        check_priority(priority)
        return False  # it waits in no pool

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        return self._end is CANCELLED

    def running(self) -> bool:
        """Return whether a worker is in the call right now."""
        with INSTALLING:  # whoever is about to cancel it, is through now
            return self._end is None and not hasattr(self, "_ticket")

    def done(self) -> bool:
        """Return whether the call returned, raised or was cancelled."""
        return self._end is not None

    def add_done_callback(self, fn: Callable[[StandardFuture[T]], object]) -> None:
        """Call `fn(future)` at the end, in the thread that ends it; at once if that was before.

        An Exception from `fn` is logged, as the standard library does.
        """
        callback = cast("Callback", fn)
        if self._end is not None:
            self._call_back((callback,))
            return
        attached = self._attach()
        attached.callbacks.append(callback)
        if self.done():  # it came in between: whoever takes the callback off the list calls it
            self._call_back(attached.take_callbacks())

    def result(self, timeout: Seconds | None = None) -> T:
        """Return what the call returned, or raise what it raised.

        Raises:
            CancelledError: the call was cancelled.
            TimeoutError: `timeout` seconds went by first; the call is not affected.
        """
        try:
            end = self._end or self._wait(timeout)
            if end is RETURNED:
                return cast("T", self._value)
            if end is CANCELLED:
                raise CancelledError
            raise self._value
        finally:
            # The traceback of what was raised holds this frame: break the circle exception -> frame -> future.
            del self

    def exception(self, timeout: Seconds | None = None) -> BaseException | None:
        """Return what the call raised, None if it returned; raises as `result` does otherwise."""
        end = self._end or self._wait(timeout)
        if end is CANCELLED:
            raise CancelledError
        return cast("BaseException", self._value) if end is RAISED else None

    def set_running_or_notify_cancel(self) -> bool:
        """Take the call to run it; return False if it was cancelled. For executors."""
        if self.cancelled():
            return False
        if self._take_ticket():
            return True
        with INSTALLING:  # whoever is about to cancel it, is through now
            if self.cancelled():
                return False
        LOGGER.critical("Future %s in unexpected state: %s", id(self), self._state)
        raise RuntimeError("Future in unexpected state")

    def set_result(self, result: T) -> None:
        """End the future with what the call returned. For executors."""
        self._set_end(RETURNED, result)

    def set_exception(self, exception: BaseException | None) -> None:
        """End the future with what the call raised. For executors."""
        self._set_end(RAISED, exception)

    def __reduce__(self) -> str:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object: send its result instead")

    def __await__(self) -> Generator[Any, None, T]:
        if running_loop() is None:
            raise RuntimeError("a Future can be awaited only in a task of a running asyncio loop; use result()")
        from millhand.pool.bridge import attend  # noqa: PLC0415 - it needs asyncio: see running_loop

        return attend(self)

    # What concurrent.futures and asyncio read of a future, derived. A type checker sees the attributes of the standard
    # library: it would not let `as_completed` have a future with properties in their place.

    if not TYPE_CHECKING:

        @property
        def _condition(self) -> threading.Condition:
            return self._watched().condition

        @property
        def _waiters(self) -> list[_Waiter]:
            return self._watched().waiters

        @property
        def _done_callbacks(self) -> list[Callback]:
            return self._attach().callbacks

        @property
        def _state(self) -> str:
            attached = self._attached
            watch = attached.watch if isinstance(attached, Attached) else None
            if self._end is not None and (watch is None or watch.over):
                return CANCELLED_AND_NOTIFIED if self._end is CANCELLED else FINISHED
            return PENDING if hasattr(self, "_ticket") else RUNNING

        @property
        def _result(self) -> T | None:
            return self._value if self._end is RETURNED else None

        @property
        def _exception(self) -> BaseException | None:
            return self._value if self._end is RAISED else None

    def _take_ticket(self) -> bool:
        try:
            del self._ticket
        except AttributeError:
            return False
        return True

    def _seize_end(self) -> bool:
        try:
            del self._open
        except AttributeError:
            return False
        return True

    def _claim_waiting(self) -> bool:
        """Take the ticket and seize the end, as one: for whoever ends a call that has not begun."""
        with INSTALLING:
            return self._take_ticket() and self._seize_end()

    def _claim_running(self) -> bool:
        """Seize the end of a call that has begun: the ticket is taken, and not by one who is about to end it."""
        with INSTALLING:
            return not hasattr(self, "_ticket") and self._seize_end()

    def _count_cancel(self) -> None:
        """Called when a cancel is decided, before anybody can see it; must not call user code."""

    def _end_as_cancelled(self) -> None:
        """Called after a cancel by the one who decided it."""
        self._call_back(self._conclude(CANCELLED, None))

    def _set_end(self, end: End, value: object) -> None:
        self._take_ticket()  # whoever sets the outcome himself does not want the call to run any more
        if not self._seize_end():
            raise InvalidStateError(f"{self._state}: {self!r}")
        self._call_back(self._conclude(end, value))

    def _conclude(self, end: End, value: object) -> Sequence[Callback]:
        """Store the outcome and tell those who wait; return the callbacks that the caller must call.

        Only for the one who seized the end.
        """
        self._value = value
        self._end = end  # this publishes the value, so it comes second; then look who is attached, never before
        attached = self._attached
        return () if attached is None else self._tell(attached, end)

    def _tell(self, attached: Attached | _thread.LockType, end: End) -> Sequence[Callback]:
        if isinstance(attached, Attached):
            return attached.tell(self, end)
        attached.release()
        return ()

    def _call_back(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - a callback's failure is no failure of the call; the stdlib logs it, too
                LOGGER.exception("exception calling callback for %r", self)

    def _wait(self, timeout: Seconds | None) -> End:
        if timeout is not None and timeout <= 0:
            raise TimeoutError
        bell = _thread.allocate_lock()
        bell.acquire()
        with INSTALLING:
            alone = self._attached is None
            if alone:  # most who wait are: then the bell itself is all that is attached, and a round trip 10 % shorter
                self._attached = bell
        if not alone:
            self._attach().bells.append(bell)
        if self._end is None and not bell.acquire(timeout=-1 if timeout is None else min(timeout, TIMEOUT_MAX)):
            self._detach(bell)
        if self._end is None:
            raise TimeoutError
        return self._end

    def _attach(self) -> Attached:
        """Return the one list of those to be told, made now if nobody needed it before."""
        with INSTALLING:
            attached = self._attached
            if not isinstance(attached, Attached):
                bell, attached = attached, Attached()
                if bell is not None:
                    attached.bells.append(bell)
                self._attached = attached
            return attached

    def _detach(self, bell: _thread.LockType) -> None:
        with INSTALLING:
            if isinstance(self._attached, Attached):
                with suppress(ValueError):  # it may be rung right now
                    self._attached.bells.remove(bell)
            elif self._attached is bell:
                self._attached = None

    def _watched(self) -> Watch:
        """Return the one watch of this future, made now if nobody needed it before."""
        attached = self._attach()
        if attached.watch is None:
            watch = Watch()
            # Whoever finds the watch must not see `over` before it is right: the condition is held until it is.
            with watch.condition, INSTALLING:
                if attached.watch is None:
                    attached.watch = watch  # install, then look: `_conclude` does it the other way round
                    watch.over = self._end is not None
        return attached.watch
