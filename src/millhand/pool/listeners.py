"""Those who want to be told what happens in a pool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from millhand.core.events import Event

Listener: TypeAlias = Callable[[Event], object]

log = logging.getLogger("millhand")


class Listeners:
    """This tells each listener each event, in the thread where it happens.

    It is true if anybody listens. What a listener raises is logged, and harms nobody.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()  # replaced, never changed: telling needs no lock

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Listener) -> None:
        """Tell one more."""
        self._listeners += (listener,)

    def remove(self, listener: Listener) -> None:
        """Tell it no more; nothing happens if it is not told."""
        self._listeners = tuple(each for each in self._listeners if each is not listener)

    def tell(self, event: Event) -> None:
        """Tell everybody."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %r", event)
