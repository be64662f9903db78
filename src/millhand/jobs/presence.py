"""Being alive for the store: beat in time, and free the jobs of those who no longer do.

Guarantees:
    A lease is renewed every `beat` seconds for as long as `step` is called; nothing a job does matters to it.
    Leases that ran out are acted on only by who made its own last three beats in time: where nobody could
    write for a while (a full disk, a foreign transaction, a suspended machine), nobody is robbed.
    A runner whose death lock is free is dead beyond doubt, so those are rescued at any time.

Used by the supervisor of `millhand serve` and `millhand run`, whose process runs no jobs, and by a `Runner`
inside somebody's program, on a thread.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import StoreError
from millhand.jobs.store import Rescue, Store

LEASE: Seconds = 15.0
BEAT: Seconds = 5.0
RESCUE_EVERY: Seconds = 1.0
"""How often the death locks are looked at; one look costs a file open for each runner."""
TRY_AGAIN_AFTER: Seconds = 1.0
BEATS_TO_JUDGE = 3

log = logging.getLogger("millhand")


class Presence:
    """One runner's row in the store, kept alive by calling `step`.

    Args:
        store: where the runner is announced.
        runner: its id, random for each start.
        lease: how long the store believes in it after a beat.
        beat: seconds between two beats, at most half the lease.
    """

    def __init__(self, store: Store, runner: str, *, lease: Seconds = LEASE, beat: Seconds = BEAT) -> None:
        if not 0 < beat <= lease / 2:
            raise ValueError(f"beat must be positive and at most half the lease ({lease} s), got {beat} s")
        self.runner = runner
        self._store, self._lease, self._beat = store, lease, beat
        self._beats: deque[Instant] = deque(maxlen=BEATS_TO_JUDGE)
        self._next_beat: Instant = float("-inf")
        self._next_rescue: Instant = float("-inf")

    def announce(self) -> None:
        """Make the runner known. Raises StoreError."""
        self._store.housekeeping.announce(self.runner, lease=self._lease)

    def step(self, now: Instant) -> Instant:
        """Beat and rescue if it is time (`now` is monotonic); return when to be called next.

        A store that refuses is tried again at the next step; it is logged, never raised.
        """
        if now >= self._next_beat:
            is_done = self._try(lambda: self._renew(now))
            self._next_beat = now + (self._beat if is_done else TRY_AGAIN_AFTER)
        if now >= self._next_rescue:
            self._try(lambda: self.rescue(expired=self._may_judge(now)))
            self._next_rescue = now + RESCUE_EVERY
        return min(self._next_beat, self._next_rescue)

    def rescue(self, *dead: str, expired: bool = False) -> list[Rescue]:
        """Free the jobs of the runners named, and of all that are dead beyond doubt. Raises StoreError."""
        rescued = self._store.claims.rescue(dead=dead, expired=expired, judge=self.runner)
        for rescue in rescued:
            if rescue.requeued or rescue.given_up:
                text = "runner %s is gone: %d of its jobs wait again, %d are given up"
                log.warning(text, rescue.runner, rescue.requeued, rescue.given_up)
        return rescued

    def retire(self) -> None:
        """Forget the runner, in order. Raises StoreError."""
        self._store.housekeeping.retire(self.runner)

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except StoreError as error:
            log.warning("the store did not answer a beat: %s", error)
            return False
        return True

    def _renew(self, now: Instant) -> None:
        if not self._store.claims.renew(self.runner, lease=self._lease):
            log.warning("runner %s had been taken for dead; announcing it again", self.runner)
            self._beats.clear()
            self.announce()
        self._beats.append(now)

    def _may_judge(self, now: Instant) -> bool:
        times = [*self._beats, now]
        in_time = all(later - earlier <= 1.5 * self._beat for earlier, later in pairwise(times))
        return len(self._beats) == BEATS_TO_JUDGE and in_time
