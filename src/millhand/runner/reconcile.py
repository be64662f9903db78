"""Comparing what the store says this runner holds with what it does hold."""

from __future__ import annotations

import logging

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import StoreError
from millhand.jobs.store import Store
from millhand.runner.attempt import Attempts
from millhand.runner.claim import ClaimDuty
from millhand.runner.settle import Settle

RECONCILE_EVERY: Seconds = 15.0

log = logging.getLogger("millhand")


class Reconcile:
    """This gives back jobs of claims whose answer was lost between the commit and the runner."""

    def __init__(self, store: Store, claim: ClaimDuty, attempts: Attempts, settle: Settle, runner: str) -> None:
        self._store, self._claim, self._attempts, self._settle = store, claim, attempts, settle
        self._runner = runner
        self._due: Instant | None = None

    def step(self, now: Instant) -> Instant:
        """Compare, if it is time."""
        if self._due is None:
            self._due = now + RECONCILE_EVERY
        if now < self._due:
            return self._due
        self._due = now + RECONCILE_EVERY
        try:
            released = self._compare()
        except StoreError as error:
            log.warning("what this runner holds could not be compared: %s", error)
        else:
            if released:
                log.warning("%d jobs were listed under runner %s without its knowledge", released, self._runner)
        return self._due

    def _compare(self) -> int:
        with self._claim.claiming:  # no claim is under way, so all that was claimed is in one of the tables
            # Attempts before outcomes: an attempt moves from the first to the second, never back.
            held = [(attempt.job.id, attempt.job.token) for attempt in self._attempts.held]
            held += self._settle.held
            return self._store.claims.reconcile(self._runner, held=held)
