"""Time as an argument: what a clock is, and the machine's own."""

from __future__ import annotations

import time
from typing import Protocol, TypeAlias

Seconds: TypeAlias = float
"""A duration."""

Instant: TypeAlias = float
"""A point in time. From `Clock.now`: UTC seconds since 1970; from `Clock.monotonic`: since some start."""


class Clock(Protocol):
    """Where time comes from; tests put a clock here that moves only when told."""

    def now(self) -> Instant:
        """Return the wall-clock time, in UTC seconds since 1970. It can jump."""

    def monotonic(self) -> Instant:
        """Return seconds since an arbitrary start. It never goes backwards; all waits use it."""


class SystemClock:
    """The machine's own clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
