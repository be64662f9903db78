"""Groups: calls that begin in a `with` body and are over when it is left, whichever way.

Guarantees:
    When the body is left, nothing of the group is queued or running: neither what was submitted to it, nor what
    that has submitted from within, to whatever pool. There are two exceptions, both threads that take no notice
    of being asked to stop: one that is written off, because it overstays a timeout or the group's `total_timeout`,
    and one that still runs half a second after Ctrl-C or sys.exit in the body.
    The first call that fails cancels the rest at once: none starts any more, and those that run are asked to stop.
    Calls submitted from within are their call's own business: only what was submitted to the group fails it.

What is raised on leaving (as asyncio.TaskGroup does it, but the body's own error comes first):
    calls failed: an ExceptionGroup of their errors, whole, in the order of their ends. If the body raised, too, its
        error comes first in it, unless it is one of theirs (`future.result()` raised it) or CancelledError,
        since that is what a call that the group has cancelled answers.
    only the body raised: its error, unchanged.
    Ctrl-C, sys.exit, and a cancellation of the body from elsewhere: these, unchanged; a cancellation only if no
        call failed.

Races:
    The end of a failed call against the end of the wait: a call's error is kept before the call leaves the scope.
    A submit against the end of the wait: both under the lock of the scope. If it comes late, it is cancelled.
    A failure against the end of an `async with` body: the body is cancelled by the loop, which looks first
    whether it has ended.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import NestedWaitLimit, PoolClosed, TaskTimeout
from millhand.pool.current import current_task, here, shield
from millhand.pool.future import RAISED, running_loop
from millhand.pool.interrupt import Interrupted
from millhand.pool.options import NO_OPTIONS, Options, check_seconds
from millhand.pool.scope import Member, Scope, leave
from millhand.pool.task import Task, monotonic

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

GRACE: Seconds = 0.5
"""How long Ctrl-C or sys.exit waits for calls that run: then it is the pool's turn, which waits for a second."""

SLICE = 100
"""How many calls are cancelled before an event loop gets its turn: each costs it some microseconds."""

Kind: TypeAlias = type[BaseException] | None


class GroupScope(Scope):
    """This is the scope of a group: it keeps the errors of what was submitted to it.

    Args:
        tree: as Scope's.
        deadline: the group's.
        fail: called once, when a call has failed and the rest is to be cancelled.
    """

    def __init__(self, tree: Scope | None, deadline: Instant, fail: Callable[[], object]) -> None:
        super().__init__(tree)
        self.errors: list[BaseException] = []
        self.deadline = deadline
        self._fail = fail

    def let_go(self, task: Task) -> None:
        """Called at the end of a task that was submitted into this scope, before anybody who waits is told."""
        error = cast("BaseException", task.exception()) if task.end is RAISED else None
        if error is not None and not (self.cancelled and isinstance(error, CancelledError | Interrupted)):
            self.errors.append(error)
            # At the group's deadline each call times out by itself, and says so.
            if not (isinstance(error, TaskTimeout) and monotonic() >= self.deadline):
                self._note_failure(task)
        leave(task)

    def _note_failure(self, task: Task) -> None:
        with self._tree:
            first, self.cancelled = not self.cancelled, True
        if first:
            # To cancel calls callbacks of others, which may take long: the worker must not promise to be free.
            task.call_first(lambda _: self._fail())


class Structure:
    """This is what a group is, beside an executor.

    Args:
        options: those of the pool or view that the group is made of.
        total_timeout: when all of the group must have ended, counted from entering it.
    """

    def __init__(self, options: Options | None, total_timeout: Seconds | None) -> None:
        check_seconds("total_timeout", total_timeout)
        self._base = options or NO_OPTIONS
        self._total_timeout = total_timeout
        self._scope = GroupScope(None, self._base.deadline, self._fail)
        self._scope.closed = True  # until it is entered
        self._options: Options | None = replace(self._base, scope=self._scope)
        self._emptied = threading.Event()
        self._body: _Body | None = None
        self._entered = False

    @property
    def cancelled(self) -> bool:
        """Whether the group was cancelled, by `cancel`, by a failed call, or by what is around it."""
        return self._scope.cancelled

    def cancel(self) -> None:
        """Cancel what waits, ask what runs to stop, and let everything that is submitted from now on be cancelled.

        The body goes on, and nothing is raised for it on leaving.
        """
        with shield():
            self._scope.cancel()

    def close(self, *, cancel: bool) -> None:
        """Take no more calls, and cancel those that there are if told to."""
        self._scope.closed = True
        if cancel:
            self.cancel()

    def join(self) -> None:
        """Wait until nothing of the group is queued or running."""
        with shield():
            self._join(None)

    def __enter__(self) -> Self:
        if running_loop() is not None:
            raise RuntimeError("leaving a group waits, and this thread runs an event loop: use `async with`")
        self._enter()
        return self

    def __exit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        with shield():
            try:
                self._join(error, urgent=isinstance(error, KeyboardInterrupt | SystemExit))
            except BaseException as interruption:
                self._join(interruption, urgent=not isinstance(interruption, Exception))
                raise
            finally:
                leave(self._scope)
            self._raise_errors(error)
            return False

    async def __aenter__(self) -> Self:
        self._body = _Body()
        self._enter()
        return self

    async def __aexit__(self, kind: Kind, error: BaseException | None, trace: TracebackType | None) -> bool:
        body = cast("_Body", self._body)
        cancellation = body.leave(error)
        worker = here.worker
        end_loan = None if worker is None else worker.crew.lend_place()
        try:
            cancellation = await self._join_async(error) or cancellation
        finally:
            leave(self._scope)
            if end_loan is not None:
                end_loan()
        if self._scope.errors:
            body.keep_cancelled()
        elif cancellation is not None and cancellation is not error:
            raise cancellation
        self._raise_errors(error)
        return body.cancelled and cancellation is None

    def _enter(self) -> None:
        if self._entered:
            raise RuntimeError("a group can be entered once; make another one with pool.group()")
        self._entered = True
        task = current_task()
        around = self._base.scope
        if around is None and task is not None and not task.is_over():
            around = task.scope_of_children()
        if around is not None and around.closed:
            raise PoolClosed("the group around this one is not open; enter this one inside of its `with` body")
        deadline = self._base.deadline
        if self._total_timeout is not None:
            deadline = min(deadline, monotonic() + self._total_timeout)
        self._scope = GroupScope(around, deadline, self._fail)
        self._options = replace(self._base, scope=self._scope, deadline=deadline)
        if around is not None and not around.add(self._scope):
            self._scope.cancel()

    def _fail(self) -> None:
        """Called when the first call has failed."""
        if self._body is not None:
            self._body.cancel()
        self._scope.cancel()

    # Waiting.

    def _join(self, error: BaseException | None, *, urgent: bool = False) -> None:
        """Wait until nothing of the group is left, after cancelling it if the body raised; if `urgent`, not long."""
        if error is not None:
            self._scope.cancel()
        until = monotonic() + GRACE if urgent else None
        while not self._scope.close(self._emptied.set):
            if until is None and not isinstance(error, NestedWaitLimit):
                self._help()
            if not self._emptied.wait(None if until is None else max(0.0, until - monotonic())):
                self._scope.closed = True
                return
            self._emptied.clear()  # and look again: more may have come in

    def _help(self) -> None:
        """See to it that waiting in a worker keeps nobody from running what it waits for."""
        worker = here.worker
        if worker is None:
            return
        for member in self._scope.members():
            if isinstance(member, Task) and worker.crew is member.crew.staff:
                with suppress(CancelledError):
                    member.exception()  # runs it here, or lets somebody stand in
        if len(self._scope):
            worker.crew.expect_wait(worker)

    async def _join_async(self, error: BaseException | None) -> BaseException | None:
        """Wait as `_join`; return the last cancellation of the body that came meanwhile."""
        body = cast("_Body", self._body)
        cancellation: BaseException | None = None
        until = monotonic() + GRACE if isinstance(error, KeyboardInterrupt | SystemExit) else None
        to_stop: Iterator[Member] = iter(() if error is None else self._scope.seal())
        while True:
            try:
                await body.stop_all(to_stop)
                if self._scope.close(body.wake):
                    return cancellation
                if not await body.wait(until):
                    self._scope.closed = True
                    return cancellation
            except body.cancelled_error as interruption:
                cancellation = interruption
                to_stop = iter(self._scope.seal())

    def _raise_errors(self, error: BaseException | None) -> None:
        """Raise what the calls raised, together with the body's error."""
        errors, self._scope.errors = self._scope.errors, []
        try:
            if not errors or isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
                return
            if isinstance(error, Exception) and not isinstance(error, CancelledError):
                errors = [error, *(each for each in errors if each is not error)]
            raise BaseExceptionGroup("calls of a group failed", errors) from None
        finally:
            del error, errors, self  # the traceback of what is raised holds this frame


class _Body:
    """This is the body of an `async with`: which asyncio task it runs in, and who has cancelled that."""

    def __init__(self) -> None:
        loop = running_loop()
        self._asyncio = cast("Any", sys.modules.get("asyncio"))  # as `running_loop` does it
        host = None if loop is None else self._asyncio.current_task()
        if loop is None or host is None:
            raise RuntimeError("`async with pool.group()` needs a task of a running asyncio loop; use `with`")
        self._loop, self._host = loop, cast("asyncio.Task[Any]", host)
        self._over = False
        self._woken: asyncio.Event = self._asyncio.Event()
        self.cancelled = False
        """It was cancelled by the group."""
        self.cancelled_error: type[BaseException] = self._asyncio.CancelledError

    # From any thread. The loop may be closed by now: then nobody waits there any more.

    def cancel(self) -> None:
        """Cancel the body, unless it has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)

    def wake(self) -> None:
        """End a wait."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._woken.set)

    # In the body's own task.

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Note that the body has ended; return its cancellation, if it was cancelled by others than the group."""
        self._over = True
        ours_only = self.cancelled and self._host.uncancel() == 0
        return error if isinstance(error, self.cancelled_error) and not ours_only else None

    def keep_cancelled(self) -> None:
        """Have a cancellation by others strike at the next await, since errors take its place now."""
        if self._host.cancelling():
            self._host.uncancel()  # so that the count stays as it is
            self._host.cancel()

    async def stop_all(self, members: Iterator[Member]) -> None:
        """Stop members, in slices, so that the loop is not held up."""
        for number, member in enumerate(members, 1):
            member.stop()
            if number % SLICE == 0:
                await self._asyncio.sleep(0)

    async def wait(self, until: Instant | None) -> bool:
        """Wait to be woken; False if the time was over first."""
        alarm = None if until is None else self._loop.call_later(max(0.0, until - monotonic()), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            self._woken.clear()
            if alarm is not None:
                alarm.cancel()
        return until is None or monotonic() < until

    def _cancel(self) -> None:
        if not self._over and not self._host.done():
            self.cancelled = True
            self._host.cancel()
