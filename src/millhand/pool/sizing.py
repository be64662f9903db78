"""The elastic pool's duty: look at the load now and then, and let `policy.scaling` say how many workers to have.

It rests while nothing happens at the smallest size: a pool that idles costs nothing. The next submit wakes it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from millhand.core.clock import Instant
from millhand.policy.scaling import INTERVAL, Load, Scaling
from millhand.pool.stats import PoolStats
from millhand.pool.timers import NEVER, Timers


class Sized(Protocol):
    """What the duty asks of a crew."""

    paused: bool

    @property
    def busy(self) -> int:
        """How many workers are at work."""
        ...

    @property
    def parked(self) -> int:
        """How many of those that wait, wait for something else than a worker."""
        ...

    @property
    def stand_ins(self) -> int:
        """How many workers stand in for those who wait for other calls of the crew."""
        ...

    @property
    def backlog(self) -> int:
        """For how many workers there is something to do that does not wait in the line."""
        ...

    def stats(self) -> PoolStats:
        """Return what it has counted."""
        ...

    def resize(self, size: int) -> None:
        """Change how many calls may run at once."""
        ...

    def staff_up_at_next_submit(self) -> None:
        """Have the next submit call `staff_up`, which wakes this duty."""
        ...


class Sizing:
    """This keeps the size of one crew between two bounds.

    Args:
        crew: whose size.
        timers: the pool's alarm clock, whose thread takes the steps.
        scaling: the bounds, and all that was learnt so far.
    """

    def __init__(self, crew: Sized, timers: Timers, scaling: Scaling) -> None:
        self._crew, self._timers, self._scaling = crew, timers, scaling
        self._waking = threading.RLock()  # re-entrant, since a finaliser may submit
        self.stopped = False
        """Whether it is to look no more: the pool has been given a fixed size."""
        self._rests = True
        self._looked_at: Instant = 0.0
        self._ended = 0
        self._cpu = 0.0

    def wake(self) -> None:
        """Begin to look, if it rests: something was submitted."""
        with self._waking:
            if not self._rests:
                return
            self._rests = False
        self._note(time.monotonic(), self._crew.stats())
        self._set_alarm(self._looked_at + INTERVAL)

    def step(self, now: Instant) -> Instant:
        """Look once; return when to look again, NEVER if it may rest."""
        before, ended, cpu = self._looked_at, self._ended, self._cpu
        stats = self._crew.stats()
        self._note(now, stats)
        waiting = stats.waiting - self._crew.parked
        interval, busy = now - before, self._crew.busy
        self._scaling = self._scaling.after(
            Load(
                interval=interval,
                workers=stats.workers - self._crew.stand_ins,
                waiting=0 if self._crew.paused else waiting + self._crew.backlog,
                completed=self._ended - ended,
                busy=busy * interval,
                cpu=self._cpu - cpu,
            )
        )
        self._crew.resize(self._scaling.size)
        is_idle = waiting <= 0 and not busy and self._ended == ended
        return NEVER if is_idle and self._scaling.size == self._scaling.low else now + INTERVAL

    def _note(self, now: Instant, stats: PoolStats) -> None:
        self._looked_at, self._cpu = now, time.process_time()
        self._ended = stats.done + stats.failed + stats.timed_out  # a bulk of cancelled calls says nothing of a rate

    def _set_alarm(self, due: Instant) -> None:
        self._timers.at(due, self._ring)

    def _ring(self) -> None:
        if self.stopped:
            return
        due = self.step(time.monotonic())
        if due == NEVER:
            # The flag first: a submit from now on wakes it; what came before it is seen by one more look.
            with self._waking:
                self._rests = True
            self._crew.staff_up_at_next_submit()
            if self._crew.stats().waiting > self._crew.parked or self._crew.busy:
                self.wake()
        else:
            self._set_alarm(due)
