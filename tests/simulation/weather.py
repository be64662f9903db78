"""What goes wrong in one history, and how often: drawn from its seed.

Each seed has only some kinds of trouble, since trouble of one kind can hide what another would show
(Groce and others, "Swarm Testing", ISSTA 2012).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from millhand.core.clock import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Weather:
    """The chance of each kind of trouble, per call of the store unless said otherwise."""

    crash_before: float
    crash_after: float
    refuse: float
    """StoreError, and nothing was done."""
    lose_answer: float
    """StoreError, and it was done."""
    lock: float
    """The database is locked by somebody for longer than a lease; the call then comes through."""
    interleave: float
    """Somebody else takes a step inside the call: before its transaction, or before its answer is heard."""
    repeat: float
    """A finish is delivered twice, at once or much later."""
    linger: float
    """Per step: time moves on although there is something to do."""
    lose_news: float
    """Per commit: the claim duty is not told of what arrived."""
    unnoticed: float
    """Per death: its lock stays held, so that only its lease can tell."""
    stop_short: float
    """A thread, or its whole process, stands still inside the call, before its transaction or before its answer."""
    starve_settling: float
    """Per step: the settling thread is not scheduled for seconds."""
    poison: float
    """Per job: it kills the process that runs it."""
    trouble_until: Instant
    """Then all is healed."""
    disasters: int
    """Kills, stalls, outages and orderly stops until then."""
    replaced: bool
    """Whether each dead runner is replaced, or only the last."""
    quick: bool
    """Whether most jobs take only milliseconds."""

    @classmethod
    def draw(cls, chance: random.Random) -> Weather:
        """Draw the weather of one seed."""

        def maybe(*rates: float) -> float:
            return chance.choice((0.0, 0.0, *rates))

        return cls(
            crash_before=maybe(0.002, 0.01),
            crash_after=maybe(0.002, 0.01, 0.03),
            refuse=maybe(0.02, 0.2),
            lose_answer=maybe(0.02, 0.1),
            lock=maybe(0.005, 0.01),
            interleave=maybe(0.05, 0.2),
            repeat=maybe(0.1, 0.4),
            linger=maybe(0.1, 0.3),
            lose_news=maybe(0.2, 1.0),
            unnoticed=maybe(0.5, 1.0),
            stop_short=maybe(0.003, 0.02),
            starve_settling=maybe(0.1, 0.4),
            poison=maybe(0.0, 0.05),
            trouble_until=chance.choice((10.0, 25.0, 40.0)),
            disasters=chance.choice((0, 1, 3, 6)),
            replaced=chance.random() < 0.6,
            quick=chance.random() < 0.5,
        )

    def lock_time(self, chance: random.Random) -> Seconds:
        """Draw how long a foreign lock lasts: around a beat, a lease, or more."""
        return chance.choice((3.0, 8.0, 16.0, 24.0)) * chance.uniform(0.9, 1.1)
