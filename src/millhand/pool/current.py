"""What runs in this thread right now: the current worker, the current task, and whether it should stop."""

from __future__ import annotations

import itertools
import operator
import threading
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millhand.pool.task import Task
    from millhand.pool.worker import Worker


class _Here(threading.local):
    worker: Worker | None = None


here = _Here()
"""Of each thread, the worker that it is, if it is one. A loop's worker is it only while its call executes."""


class _Bare:
    """This is no context at all: what runs in it shares its thread's."""

    run: Any = staticmethod(operator.call)


_BARE = _Bare()
_inside: ContextVar[Any] = ContextVar("millhand_inside", default=None)
"""Set inside of every call. A context that is not empty is how a submit knows that it may stand inside of one: the
look at `here` costs it 2 %, and most programs have no contextvars."""

_INSIDE = Context()
_INSIDE.run(_inside.set, _BARE)

inside = _INSIDE.copy
"""Returns what a call starts in whose submitter's context was empty."""

bare = itertools.repeat(_BARE).__next__
"""Returns what a call starts in whose pool copies no contexts."""

bare_inside = _inside.get
"""Returns what a submit to such a pool takes for its context: None outside of any call."""

mark_inside = partial(_inside.set, _BARE)
"""Lets what is submitted in the current context know that it stands inside of a call."""

_OPEN = nullcontext()


def current_task() -> Task | None:
    """Return the task whose call this code runs in, None outside of a pool's call."""
    worker = here.worker
    return None if worker is None else worker.task


def shield() -> AbstractContextManager[None]:
    """Keep an interruption of the call that this code runs in away from what the pool does for it; it comes after."""
    worker = here.worker
    terms = None if worker is None or worker.task is None else worker.task.terms
    return _OPEN if terms is None or terms.guard is None else terms.guard.shielded()


def check_cancelled() -> None:
    """Raise if the call that this code runs in should stop; do nothing outside of a pool's call.

    A thread cannot be stopped from outside, so long loops call this now and then. It costs about 0.1 µs.

    Raises:
        TaskCancelled: the call was asked to stop: by `cancel(running=True)`, by its group, or by the end of a `map`.
        TaskTimeout: its time is over, and its future has failed already.
    """
    worker = here.worker
    if worker is not None and worker.task is not None:
        terms = worker.task.terms
        if terms is not None and terms.asked:  # all are that time out, too
            worker.task.check_cancelled()
