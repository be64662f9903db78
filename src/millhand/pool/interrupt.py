"""Stopping a thread in the middle of a call, for calls that ask for it: `with_options(interrupt=True)`.

CPython can raise an exception in another thread, between two of its bytecodes: it does not reach into C code, a
lock that is waited for, or a sleep, before these return. It may hit anywhere in the call, also in its `finally`.

Guarantees:
    It hits only the call that it was meant for: it is sent only while the thread is inside of that call, at most
    once, and what was sent but has not struck when the call ends is taken back.

Locks:
    `_lock`: whether the thread is inside, and whether it was sent. If it strikes while the thread leaves, the
    call counts as interrupted at its last moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Interrupted(BaseException):
    """This is raised in the middle of a call that was submitted with `interrupt=True` and has to stop.

    No Exception, so that `except Exception` does not swallow it.
    """


class Guard:
    """This lets one call be interrupted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._sent = False

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns. Raises Interrupted if `interrupt` struck."""
        self._thread = threading.get_ident()
        try:
            return fn(*args, **kwargs)
        finally:
            with self._lock:
                self._thread = None
            if self._sent:
                _raise_in(threading.get_ident(), None)

    def interrupt(self) -> None:
        """Raise Interrupted in the call, if a thread is in it."""
        with self._lock:
            if self._thread is not None and not self._sent:
                self._sent = True
                _raise_in(self._thread, Interrupted)


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    """Have an exception raised in a thread; None takes back the one that has not struck yet."""
    import ctypes  # noqa: PLC0415 - it would be a tenth of what `import millhand` costs those who never interrupt

    kind = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), kind)
