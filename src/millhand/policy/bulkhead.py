"""How many calls of one key may run at once, so that a slow one does not take all the workers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import QueueFull
from millhand.policy.checks import check_count


@dataclass(frozen=True, slots=True)
class Bulkhead:
    """This lets `running` calls of a key run at once, and `waiting` more wait; None: as many as like.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    running: int
    waiting: int | None = None

    def __post_init__(self) -> None:
        check_count("running", self.running)
        if self.waiting is not None:
            check_count("waiting", self.waiting, least=0)

    def fresh(self) -> BulkheadState:
        """Return the state of one key, of which nothing runs."""
        return BulkheadState(self)


class BulkheadState:
    """This counts the calls of one key that run, and those that wait: a gate (`policy.gate.Gate`)."""

    __slots__ = ("_settings", "running", "waiting")

    def __init__(self, settings: Bulkhead) -> None:
        self._settings = settings
        self.running = 0
        """How many calls were let through and have not ended."""
        self.waiting = 0
        """How many calls joined the line and have not left it."""

    def join_line(self) -> None:
        """Note that a call waits. Raises QueueFull if as many do as may."""
        limit = self._settings.waiting
        if limit is not None and self.waiting >= limit:
            raise QueueFull(self.waiting, limit, "wait and try again, or raise the bulkhead's waiting")
        self.waiting += 1

    def leave_line(self) -> None:
        """Note that a call waits no longer: it is about to `take`, or has given up."""
        self.waiting -= 1

    @property
    def can_start_one(self) -> bool:
        """Whether a call of this key waits, and there is room for it: what to ask after each end."""
        return self.waiting > 0 and self.running < self._settings.running

    def wait_needed(self, now: Instant) -> Seconds:
        """Return 0.0 if there is room; infinity if there will be some when a call has ended."""
        return 0.0 if self.running < self._settings.running else math.inf

    def refusal(self, now: Instant) -> QueueFull | None:
        """Return what a call is told for which there is no room; None: there is."""
        limit = self._settings.running
        if self.running < limit:
            return None
        return QueueFull(self.running, limit, "wait for a call to end, or raise the bulkhead's running")

    def take(self, now: Instant) -> None:
        """Let one call through. Raises QueueFull, and nothing has changed then."""
        if (refusal := self.refusal(now)) is not None:
            raise refusal
        self.running += 1

    def give_back(self, now: Instant, *, started: Instant) -> None:
        """Note that a call which was let through never ran."""
        self.running -= 1

    def ended(self, now: Instant, *, started: Instant, error: BaseException | None = None) -> None:
        """Note that a call has ended, in whatever way."""
        self.running -= 1

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether no call runs or waits."""
        return not self.running and not self.waiting
