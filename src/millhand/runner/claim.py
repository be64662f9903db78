"""Claiming: as many jobs as the free workers can take, and a little more when jobs are short.

Locks:
    `claiming` is held while a claim is under way, until its jobs are in the table of attempts: whoever holds
    it sees every job that the store has given to this runner (see `reconcile`).
"""

from __future__ import annotations

import logging
import threading

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import PoolClosed, StoreError
from millhand.jobs.registry import Registry
from millhand.jobs.store import Claim, Store
from millhand.runner.attempt import Attempts
from millhand.runner.duty import NEVER, Bell

LOOK_AHEAD: Seconds = 0.02
"""Jobs are claimed ahead for this long at the present rate: enough to hide the commit between two claims.
A job of 20 ms or more is never claimed before a worker is free for it."""
LOOK_AHEAD_LIMIT = 2_000
BUSY_LOOK: Seconds = 0.002
IDLE_LOOK: Seconds = 0.010
TRY_AGAIN_AFTER: Seconds = 0.5

log = logging.getLogger("millhand")


class Pace:
    """How many jobs end per second, smoothed over about the last 100 ms."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._since: Instant | None = None

    def update(self, ended: int, now: Instant) -> float:
        """Take note of how many ended since the last call; return the rate."""
        if self._since is not None and now > self._since:
            span = now - self._since
            weight = min(1.0, span / 0.1)
            self._rate += weight * (ended / span - self._rate)
        self._since = now
        return self._rate


class ClaimDuty:
    """This claims jobs and starts them. Its bell rings when work arrives or a worker becomes free."""

    def __init__(self, store: Store, registry: Registry, attempts: Attempts, runner: str, *, workers: int) -> None:
        self.bell = Bell()
        self.claiming = threading.Lock()
        self._store, self._registry, self._attempts, self._runner = store, registry, attempts, runner
        self._workers = workers
        self._pace = Pace()
        self._ended = 0
        self._arrivals_seen = -1
        self._changes_seen = -1
        self._more_waits = True
        self._next_due: Instant = NEVER
        self._look_every = BUSY_LOOK
        self._stopped = False

    def stop(self) -> None:
        """Claim no more; returns when a claim under way has come to its end."""
        with self.claiming:
            self._stopped = True

    def note_arrival(self) -> None:
        """Take note that this process has committed something that may be claimable."""
        self._more_waits = True
        self.bell.ring()

    def note_ended(self) -> None:
        """Take note that an attempt has ended."""
        self._ended += 1  # not atomic, and need not be: it only feeds an estimate
        if self._more_waits:
            self.bell.ring()

    def step(self, now: Instant) -> Instant:
        """Claim if there is room and something may wait."""
        ended, self._ended = self._ended, 0
        rate = self._pace.update(ended, now)
        ahead = min(LOOK_AHEAD_LIMIT, int(rate * LOOK_AHEAD))
        most = self._workers + ahead
        if self._stopped:
            return NEVER
        if (room := most - len(self._attempts)) <= 0:
            self._more_waits = True  # for all we know: whoever ends an attempt from now on rings
            return NEVER if len(self._attempts) >= most else now
        if not self._more_waits and now < self._next_due and not self._something_arrived():
            self._look_every = min(IDLE_LOOK, self._look_every * 1.2)
            return min(now + self._look_every, self._next_due)
        self._more_waits = True  # until a claim has come through that found less than it asked for
        try:
            return self._claim(room, now)
        except StoreError as error:
            log.warning("no jobs could be claimed: %s", error)
            return now + TRY_AGAIN_AFTER

    def _something_arrived(self) -> bool:
        changes = self._store.reading.changed()
        if changes == self._changes_seen:
            return False
        self._changes_seen = changes
        return self._store.reading.arrivals() != self._arrivals_seen

    def _claim(self, room: int, now: Instant) -> Instant:
        # Before the claim: what arrives while it is under way is found by the next look.
        self._arrivals_seen = self._store.reading.arrivals()
        with self.claiming:
            if self._stopped:
                return NEVER
            claim = self._store.claims.claim(self._runner, room=room, types=self._registry.names)
            self._start(claim)
        self._more_waits = len(claim.jobs) >= room
        self._next_due = NEVER if claim.next_due is None else now + max(0.0, claim.next_due - claim.now)
        self._look_every = BUSY_LOOK
        return now if self._more_waits else min(now + BUSY_LOOK, self._next_due)

    def _start(self, claim: Claim) -> None:
        for position, job in enumerate(claim.jobs):
            try:
                self._attempts.start(job, self._registry.get(job.type))
            except PoolClosed as error:
                log.error("this runner takes no more jobs: %s", error)
                self._stopped = True
                self._store.claims.release([(job.id, job.token) for job in claim.jobs[position:]])
                return
