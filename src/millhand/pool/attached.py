"""Those who are to be told of the end of a future (`pool.future`)."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from concurrent.futures._base import _Waiter

    from millhand.pool.future import End, Future

Callback: TypeAlias = Callable[["Future[Any]"], object]


class Attached:
    """Those who are to be told of the end of one future."""

    __slots__ = ("bells", "callbacks", "hooks", "watch")

    def __init__(self) -> None:
        self.bells: list[_thread.LockType] = []
        self.callbacks: list[Callback] = []
        self.hooks: list[Callback] = []
        """The pool's own callbacks: attached before the call can end, called first, never fail."""
        self.watch: Watch | None = None

    def tell(self, future: Future[Any], end: End) -> Sequence[Callback]:
        """Wake everybody; return the callbacks, to be called without a lock."""
        while self.hooks:
            self.hooks.pop()(future)
        if self.watch is not None:
            self.watch.tell(future, end)
        bells = self.bells
        while bells:
            with suppress(IndexError):  # one who gave up waiting was quicker
                bells.pop().release()
        return self.take_callbacks()

    def forget(self, hook: Callback) -> None:
        """Have a hook not be called any more."""
        with suppress(ValueError):  # it has been
            self.hooks.remove(hook)

    def take_callbacks(self) -> Sequence[Callback]:
        """Take the callbacks off the list, so that nobody else calls them."""
        taken: list[Callback] = []
        while self.callbacks:
            with suppress(IndexError):  # the one who ends the future and one who adds a callback may meet here
                taken.append(self.callbacks.pop(0))
        return taken


class Watch:
    """Those of the standard library's functions who wait for one future."""

    __slots__ = ("condition", "over", "waiters")

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiters: list[_Waiter] = []
        self.over = False

    def tell(self, future: Future[Any], end: End) -> None:
        """Wake everybody, once."""
        with self.condition:
            if self.over:  # the watch was installed after the end was stored: nobody here is waiting for it
                return
            self.over = True
            for waiter in self.waiters:
                match end.value:
                    case "returned":
                        waiter.add_result(future)
                    case "raised":
                        waiter.add_exception(future)
                    case _:
                        waiter.add_cancelled(future)
            self.condition.notify_all()
