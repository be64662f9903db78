"""Stopping a thread in the middle of a call, for calls that ask for it: `with_options(interrupt=True)`.

CPython can raise an exception in another thread, between two of its bytecodes: it does not reach into C code, a
lock that is waited for, or a sleep, before these return. It may hit anywhere in the call, also in its `finally`; if
it hits a finaliser or a weakref's callback that the garbage collector calls there, CPython prints "Exception ignored"
and it is lost. So a loop that must end calls `check_cancelled` now and then nevertheless.

Guarantees:
    It hits only the call that it was meant for: it is sent only while the thread is inside of that call, at most
    once, and strikes before the call is left. It does not hit what the pool
    does in this thread for the call (`shielded`): a submit that is cut in two would lose the pool a place.
    Who is interrupted before the call began is interrupted at its first step.

Locks:
    `_lock`: whether the thread is inside, and whether it was sent. If it strikes while the thread leaves, the
    call counts as interrupted at its last moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(BaseException):
    """This is raised in the middle of a call that was submitted with `interrupt=True` and has to stop.

    No Exception, so that `except Exception` does not swallow it.
    """


class Guard:
    """This lets one call be interrupted."""

    __slots__ = ("_lock", "_sent", "_thread", "_wanted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._wanted = False
        self._sent = False

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns. Raises Interrupted if `interrupt` struck."""
        try:
            self._enter()
            return fn(*args, **kwargs)
        finally:
            self._leave()

    def interrupt(self) -> None:
        """Raise Interrupted in the call: now if its thread is inside of it, else as soon as it is."""
        with self._lock:
            self._wanted = True
            self._send()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Keep the interruption out of what the thread of the call does in here; it comes after it."""
        if self._thread is None:  # shielded already, or not in the call any more: then it must not be sent later, too
            yield
            return
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _enter(self) -> None:
        with self._lock:
            self._thread = threading.get_ident()
            self._send()

    def _leave(self) -> None:
        with self._lock:
            self._thread = None
        # Nothing is sent any more, and what was sent strikes here at the latest. To take it back instead would leave
        # CPython 3.11 looking for it for ever: every call would be slower, and under a tracer never begin.
        _begin()

    def _send(self) -> None:
        if self._wanted and self._thread is not None and not self._sent:
            self._sent = True
            _raise_in(self._thread, Interrupted)


def _begin() -> None:
    """Be the start of a function, where CPython raises what is pending."""


def _raise_in(thread: int, exception: type[BaseException]) -> None:
    """Have an exception raised in a thread."""
    import ctypes  # noqa: PLC0415 - it would be a tenth of what `import millhand` costs those who never interrupt

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))
