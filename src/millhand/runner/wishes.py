"""What others want of this runner's jobs: that they be cancelled."""

from __future__ import annotations

from millhand.core.clock import Instant, Seconds
from millhand.jobs.store import Store
from millhand.runner.attempt import Attempts

LOOK_EVERY: Seconds = 0.05


class Wishes:
    """This carries out cancels soon after somebody wrote them into the store."""

    def __init__(self, store: Store, attempts: Attempts, runner: str) -> None:
        self._store, self._attempts, self._runner = store, attempts, runner

    def step(self, now: Instant) -> Instant:
        """Cancel what is to be cancelled."""
        if self._attempts:
            for id in self._store.claims.cancel_wishes(self._runner):
                self._attempts.cancel(id)
        return now + LOOK_EVERY
