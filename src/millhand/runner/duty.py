"""The one contract of everything a runner does: `step(now)`, which says when it wants to be called next.

Threads only call steps; all deciding is in the steps. So the simulator (`tests/simulation`) runs the very
same duties under a schedule of its own, on a clock that it moves itself.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from millhand.core.clock import Clock, Instant, Seconds

log = logging.getLogger("millhand")

NEVER: Instant = float("inf")
"""The next due time of a duty that waits for its bell alone."""


class Duty(Protocol):
    """Something a runner has to do again and again."""

    def step(self, now: Instant) -> Instant:
        """Do what is to be done now (monotonic); return when to be called next at the latest."""


class Bell:
    """This wakes a duty before its time. Ringing is cheap, and rings that come together are one."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        """Have the duty called soon."""
        if not self._event.is_set():
            self._event.set()

    def wait(self, seconds: Seconds) -> None:
        """Block until rung, or for this long."""
        self._event.wait(None if seconds == NEVER else max(0.0, seconds))

    def clear(self) -> None:
        """Forget the rings so far; whoever clears looks for work after, not before."""
        self._event.clear()


class DutyThread:
    """A thread that steps one duty until stopped.

    Shutdown: `stop` lets the step under way end, then the thread ends; idempotent.
    """

    def __init__(self, name: str, duty: Duty, bell: Bell, clock: Clock) -> None:
        self._duty, self._bell, self._clock = duty, bell, clock
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"millhand-{name}", daemon=True)

    def start(self) -> None:
        """Begin to step."""
        self._thread.start()

    def stop(self) -> None:
        """Let the step under way end, and wait for the thread."""
        self._stopping = True
        self._bell.ring()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._bell.clear()
            try:
                due = self._duty.step(self._clock.monotonic())
            except Exception:  # the edge: a duty that fails is tried again, and says so
                log.exception("%s failed; it is tried again in a second", self._thread.name)
                due = self._clock.monotonic() + 1.0
            if not self._stopping:
                self._bell.wait(due - self._clock.monotonic())


class Together:
    """Several duties that share one thread."""

    def __init__(self, *duties: Duty) -> None:
        self._duties = duties

    def step(self, now: Instant) -> Instant:
        """Step each; return the earliest of their due times."""
        return min(duty.step(now) for duty in self._duties)
