"""The end of the interpreter: the only place that touches the exit hook of `concurrent.futures.thread`.

The hook puts a None on the queue of each registered thread and joins the thread, so what was submitted still
runs. Registering there, and not with a hook of our own, keeps one order of exit for all pools of a program.
"""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from concurrent.futures import thread as stdlib
from queue import SimpleQueue
from typing import Any, cast

# ruff: noqa: SLF001 - the standard library has no public name for any of this

HOOK = stdlib
"""Where the hook lives, for the one caller to whom calling `is_near` would cost 3 %."""


def is_near() -> bool:
    """Return whether the hook has run: what is put on a queue from now on may never run."""
    return stdlib._shutdown


def refusal() -> RuntimeError:
    """Return what a submit raises then: the standard library's own error, which programs look for by its text."""
    return RuntimeError("cannot schedule new futures after interpreter shutdown")


def start(thread: threading.Thread, items: SimpleQueue[Any]) -> None:
    """Start a thread that the exit waits for, after a None on `items`.

    Raises:
        RuntimeError: the exit is near, or the system has no thread to give.
    """
    with stdlib._global_shutdown_lock:
        if stdlib._shutdown:
            raise refusal()
        thread.start()
        _registered()[thread] = items


def forget(thread: threading.Thread) -> None:
    """Have the hook not wait for this thread."""
    with stdlib._global_shutdown_lock:
        _registered().pop(thread, None)


def _registered() -> MutableMapping[threading.Thread, SimpleQueue[Any]]:
    return cast("MutableMapping[threading.Thread, SimpleQueue[Any]]", stdlib._threads_queues)
