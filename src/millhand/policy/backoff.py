"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass

from millhand.core.clock import Seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """This doubles the wait from attempt to attempt, and draws each wait evenly from nought to that bound.

    "Full jitter": Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). A crowd
    that failed together does not come back together.
    """

    base: Seconds = 1.0
    factor: float = 2.0
    cap: Seconds = 600.0

    def __post_init__(self) -> None:
        if not (0 <= self.base <= self.cap and self.factor >= 1):  # so that NaN is refused too
            raise ValueError(
                f"backoff needs 0 <= base <= cap and factor >= 1, "
                f"got base={self.base}, factor={self.factor}, cap={self.cap}"
            )

    def bound(self, attempt: int) -> Seconds:
        """Return the longest wait after this attempt (the first is 1)."""
        try:
            return min(self.cap, self.base * self.factor ** (attempt - 1))
        except OverflowError:  # factor ** 1100 is beyond a float, and far beyond any cap
            return self.cap if self.base else 0.0

    def wait(self, attempt: int, chance: random.Random) -> Seconds:
        """Draw the wait after this attempt: from 0 to `bound(attempt)`."""
        return chance.uniform(0.0, self.bound(attempt))
