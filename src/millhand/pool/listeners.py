"""Those who want to be told what happens in a pool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from millhand.core.events import Event

Listener: TypeAlias = Callable[[Event], object]

log = logging.getLogger("millhand")


class Listeners(list[Listener]):
    """This tells each listener each event, in the thread where it happens.

    A list, so that to look whether anybody listens costs next to nothing. What a listener raises is logged, and
    harms nobody.
    """

    def tell(self, event: Event) -> None:
        """Tell everybody."""
        for listener in tuple(self):
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %r", event)
