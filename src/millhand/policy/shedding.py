"""Refusing work that would come too late, so that what is done is of use to somebody."""

from __future__ import annotations

import math
from dataclasses import dataclass

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import Overloaded
from millhand.policy.checks import check_positive


@dataclass(frozen=True, slots=True)
class DeadlineShedding:
    """This refuses a call that would not have ended by its deadline, going by an estimate.

    Args:
        margin: what an estimate is multiplied by. Above 1, calls are refused that would just make it; below 1, calls
            get their chance that would probably be late.

    Raises:
        ValueError: the margin is not a finite number above 0.
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        check_positive("margin", self.margin)

    def refusal(
        self, now: Instant, *, deadline: Instant, queue_wait: Seconds = 0.0, run_time: Seconds = 0.0
    ) -> Overloaded | None:
        """Return what a call is told that would be late; None: it can be in time.

        Args:
            now: the time.
            deadline: when it must have ended.
            queue_wait: how long it is expected to wait from now on; 0 for one that a worker is about to run.
            run_time: how long it is expected to run; 0 if nobody knows.
        """
        expected = (queue_wait + run_time) * self.margin
        allowed = max(0.0, deadline - now)
        # One whose time is up is late, however quick it would be.
        return Overloaded(expected, allowed) if expected > allowed or now >= deadline else None


@dataclass(frozen=True, slots=True)
class CoDel:
    """This drops calls that have waited, when for a whole `interval` all of them had waited longer than `target`.

    Nichols and Jacobson, "Controlling Queue Delay" (ACM Queue 10(5), 2012), to the letter of RFC 8289, section 5:
    a line that drains now and then may be long, one that never drains is only delay. While that lasts, drops come
    closer together with the square root of their number. The last call in the line is never dropped.

    Args:
        target: the wait that is acceptable for good, in seconds.
        interval: for how long it may be longer: several times the target.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    target: Seconds = 0.1
    interval: Seconds = 1.0

    def __post_init__(self) -> None:
        check_positive("target", self.target)
        check_positive("interval", self.interval)
        if self.target > self.interval:
            raise ValueError(f"target must be at most the interval, got target={self.target}, interval={self.interval}")

    def fresh(self) -> CoDelState:
        """Return the state of a line that is empty."""
        return CoDelState(self)


class CoDelState:
    """This is what is known of one line. The names are those of RFC 8289."""

    __slots__ = ("_count", "_drop_next", "_dropping", "_first_above", "_has_just_dropped", "_last_count", "_settings")

    def __init__(self, settings: CoDel) -> None:
        self._settings = settings
        self._first_above: Instant | None = None
        self._dropping = self._has_just_dropped = False
        self._count = self._last_count = 0
        self._drop_next: Instant = -math.inf

    def refusal(self, now: Instant, *, waited: Seconds, left: int) -> Overloaded | None:
        """Return what the next call in the line is told if it is to be dropped; None: run it.

        Args:
            now: the time.
            waited: how long this call has stood in the line.
            left: how many calls stand behind it.
        """
        if not self._may_drop(now, waited, left):
            self._dropping = self._has_just_dropped = False
            return None
        if not self._dropping:
            self._start_dropping(now)
        elif not self._is_due(now):
            return None
        return Overloaded(waited, self._settings.target)

    def _may_drop(self, now: Instant, waited: Seconds, left: int) -> bool:
        if waited < self._settings.target or not left:
            self._first_above = None
            return False
        if self._first_above is None:
            self._first_above = now + self._settings.interval
            return False
        return now >= self._first_above

    def _start_dropping(self, now: Instant) -> None:
        # Soon after the last time, the pace that was enough then is what it begins with.
        before = self._count - self._last_count
        is_soon = now - self._drop_next < 16 * self._settings.interval
        self._count = self._last_count = before if before > 1 and is_soon else 1
        self._dropping = True
        self._drop_next = self._after(now)

    def _is_due(self, now: Instant) -> bool:
        if self._has_just_dropped:  # the next drop is set only when the call behind a dropped one stands too long, too
            self._has_just_dropped = False
            self._drop_next = self._after(self._drop_next)
        if now < self._drop_next:
            return False
        self._count += 1
        self._has_just_dropped = True
        return True

    def _after(self, at: Instant) -> Instant:
        return at + self._settings.interval / math.sqrt(self._count)
