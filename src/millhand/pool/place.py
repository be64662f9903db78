"""One place on a loop, and how it drives a call: step by step, in the call's own context."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from millhand.core.clock import Instant
from millhand.pool.current import here
from millhand.pool.worker import Worker

if TYPE_CHECKING:
    from millhand.pool.admission import Admission
    from millhand.pool.task import Task


class Place(Worker):
    """This is one of those who run coroutines: an asyncio task that drives one call after the other."""

    __slots__ = ("aio", "bell", "dismissed", "fresh", "loans", "told")

    aio: asyncio.Task[None]

    def __init__(self, crew: Admission, name: str, number: int) -> None:
        super().__init__(crew, name, number)
        self.bell: asyncio.Future[None] | None = None
        """What it waits for while it is idle."""
        self.dismissed = False
        self.loans = 0
        """How many tasks of its own crew its call awaits: one or more, and another call may run meanwhile."""
        self.told: tuple[str, Instant] | None = None
        """The name of its call, and when it began, if listeners are to be told of the end."""
        context = Context()
        context.run(at_place.set, self)
        self.fresh: Callable[[], Context] = context.copy
        """Returns what a call starts in whose submitter's context was empty."""

    @property
    def spoilt(self) -> bool:
        """Whether its asyncio task was cancelled by, or for, a call that ended before the cancellation was over."""
        return self.aio.cancelling() > 0 or self.aio._must_cancel  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way to know


CO_COROUTINE = inspect.CO_COROUTINE

at_place: ContextVar[Place] = ContextVar("millhand_place")
"""The place that a call has: known, other than `here`, also in the asyncio tasks that the call has started."""


@types.coroutine
def rest_of(place: Place, context: Context, coro: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """Drive a call that has suspended to its end; return or raise what it does."""
    send, throw, run = coro.send, coro.throw, context.run
    try:
        while True:
            here.worker = None
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - the call's: a cancellation, mostly
                here.worker = place
                awaited = run(throw, error)
            else:
                here.worker = place
                awaited = run(send, None)
    except StopIteration as stop:
        return stop.value


@types.coroutine
def yield_to_loop() -> Generator[None, None, None]:
    """Let the loop do what else there is to do."""
    yield


def check_coroutine_function(task: Task) -> None:
    """Raise TypeError unless a task calls an async function."""
    fn = task._fn  # noqa: SLF001 - a property for it would cost a submit 3 %
    try:
        if fn.__code__.co_flags & CO_COROUTINE:
            return
    except AttributeError:  # a partial, or an object that can be called
        pass
    if not (inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))):  # noqa: B004 - it is looked at, not tested for
        raise TypeError(f"{task.name} is no async function, so it would block the loop; submit it to a ThreadPool")


def without_our_frames(error: BaseException) -> None:
    """Have a traceback begin in the call: our frames would keep the task, in a circle, alive."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in OURS:
        trace = trace.tb_next
    error.__traceback__ = trace


OURS = {__file__, __file__.replace("place.py", "loop_crew.py")}
