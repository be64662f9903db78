"""How long to wait before the next attempt."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from millhand.core.clock import Seconds

Growth: TypeAlias = Literal["exponential", "linear", "fixed"]
"""How the bound of the wait goes on from attempt to attempt: times `factor`, plus `base`, or not at all."""

Jitter: TypeAlias = Literal["full", "decorrelated", "none"]
"""How a wait is drawn: evenly from nought to the bound, from what the wait before may have been, or not at all."""

SPREAD = 3.0
"""A decorrelated wait is at most so many times the one before it."""

MEMORY = 1_000
"""After so many steps nobody can tell any more where a chain of decorrelated waits began."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """This makes the waits grow from attempt to attempt up to a cap, and draws each of them by chance.

    "Full" and "decorrelated" jitter: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    A crowd that failed together does not come back together; with "none" it does.

    Decorrelated waits bring their own growth: the first lies between `base` and three times that, each further one
    between `base` and three times the one before. What was waited before need not be remembered: the chain is drawn
    anew from its beginning, which gives the waits after each attempt the same distribution.

    Raises:
        ValueError: a number is out of its range, or a word is unknown.
    """

    base: Seconds = 1.0
    factor: float = 2.0
    cap: Seconds = 600.0
    growth: Growth = "exponential"
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        if not (0 <= self.base <= self.cap < math.inf and 1 <= self.factor < math.inf):  # so that NaN is refused too
            raise ValueError(
                f"backoff needs 0 <= base <= cap and factor >= 1, all finite, "
                f"got base={self.base}, factor={self.factor}, cap={self.cap}"
            )
        if self.growth not in get_args(Growth) or self.jitter not in get_args(Jitter):
            raise ValueError(
                f"backoff needs a growth of {', '.join(get_args(Growth))} and a jitter of "
                f"{', '.join(get_args(Jitter))}, got growth={self.growth!r}, jitter={self.jitter!r}"
            )
        if self.jitter == "decorrelated" and self.growth != "exponential":
            raise ValueError(
                f"decorrelated waits grow by themselves, got growth={self.growth!r}; leave it out, or use full jitter"
            )

    def bound(self, attempt: int) -> Seconds:
        """Return the longest wait after this attempt (the first is 1)."""
        if self.jitter == "decorrelated":
            return self._grown(SPREAD, attempt)
        if self.growth == "exponential":
            return self._grown(self.factor, attempt - 1)
        return min(self.cap, self.base * attempt) if self.growth == "linear" else self.base

    def wait(self, attempt: int, chance: random.Random) -> Seconds:
        """Draw the wait after this attempt: from 0, or with decorrelated jitter from `base`, to `bound(attempt)`."""
        if self.jitter == "decorrelated":
            return self._walk(attempt, chance)
        return self.bound(attempt) if self.jitter == "none" else chance.uniform(0.0, self.bound(attempt))

    def _walk(self, attempt: int, chance: random.Random) -> Seconds:
        wait = self.base
        for _ in range(min(attempt, MEMORY)):
            wait = min(self.cap, chance.uniform(self.base, wait * SPREAD))
        return wait

    def _grown(self, factor: float, times: int) -> Seconds:
        try:
            return min(self.cap, self.base * factor**times)
        except OverflowError:  # factor ** 1100 is beyond a float, and far beyond any cap
            return self.cap if self.base else 0.0
