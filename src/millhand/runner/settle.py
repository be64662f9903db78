"""Settling: outcomes are gathered, decided, and brought back to the store, many in one fenced commit."""

from __future__ import annotations

import logging
import random
from collections import deque

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import LeaseLost, StoreError
from millhand.core.job import ClaimedJob, JobState
from millhand.core.outcome import Outcome
from millhand.jobs.store import Claims, Ending
from millhand.policy.retry import Finish, Retry, RunAgain
from millhand.runner.attempt import Attempt
from millhand.runner.duty import NEVER, Bell

BATCH_LIMIT = 1_000
TRY_AGAIN_AFTER: Seconds = 0.5

log = logging.getLogger("millhand")


class Settle:
    """This brings outcomes back. Its bell rings with each; while one batch commits, the next gathers.

    An outcome that the store cannot take now (a full disk, say) is kept and tried again until it is taken or
    found stale.
    """

    def __init__(self, claims: Claims, chance: random.Random) -> None:
        self.bell = Bell()
        self._claims, self._chance = claims, chance
        self._outcomes: deque[tuple[ClaimedJob, Retry, Outcome]] = deque()
        self._unsent: list[Ending] = []

    @property
    def held(self) -> list[tuple[str, int]]:
        """The jobs, as (id, token), whose outcome has not been brought back yet."""
        waiting = [(job.id, job.token) for job, _, _ in self._outcomes.copy()]
        return [*waiting, *((ending.id, ending.token) for ending in self._unsent)]

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take an outcome; any thread may call this."""
        self._outcomes.append((attempt.job, attempt.type.retry, outcome))
        self.bell.ring()

    def step(self, now: Instant) -> Instant:
        """Bring back what has gathered."""
        while self._outcomes and len(self._unsent) < BATCH_LIMIT:
            # Into _unsent before out of the queue, so that `held` never misses one.
            self._unsent.append(self._decide(*self._outcomes[0]))
            self._outcomes.popleft()
        if not self._unsent:
            return NEVER
        try:
            accepted = self._claims.finish(self._unsent)
        except StoreError as error:
            log.warning("%d finished jobs wait for the store: %s", len(self._unsent), error)
            return now + TRY_AGAIN_AFTER
        for ending, is_accepted in zip(self._unsent, accepted, strict=True):
            if not is_accepted:
                log.warning("%s", LeaseLost(ending.id, ending.token))
        self._unsent = []
        return now if self._outcomes else NEVER

    def _decide(self, job: ClaimedJob, retry: Retry, outcome: Outcome) -> Ending:
        decision = retry.after(outcome, attempt=job.attempt, max_attempts=job.max_attempts, chance=self._chance)
        match decision:
            case Finish(state, result, error):
                return Ending(job.id, job.token, state, result=result, error=error)
            case RunAgain(delay, error, counts):
                return Ending(job.id, job.token, JobState.SCHEDULED, error=error, delay=delay, counts_as_attempt=counts)
