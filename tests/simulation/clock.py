"""Time that moves only when the schedule says so."""

from __future__ import annotations

from millhand.core.clock import Instant, Seconds

BEGINNING: Instant = 1_700_000_000.0
"""Some moment for the wall clock to start at."""


class ManualClock:
    """A `Clock` that stands still until told."""

    def __init__(self) -> None:
        self._elapsed: Seconds = 0.0

    def now(self) -> Instant:
        """Return the wall-clock time."""
        return BEGINNING + self._elapsed

    def monotonic(self) -> Instant:
        """Return the seconds since the beginning."""
        return self._elapsed

    def advance_to(self, instant: Instant) -> None:
        """Move to this moment of `monotonic`; a moment that has passed changes nothing."""
        self._elapsed = max(self._elapsed, instant)
