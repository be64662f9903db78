"""How many calls may begin in a time: at a set rate, or at one that finds itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import RateLimited, RetryAfter
from millhand.policy.checks import check_count, check_positive
from millhand.policy.kinds import Kinds, Verdict, check_kinds, judge

SLACK = 4
"""By how many of the clock's smallest steps a call may be early: what rounding makes of `now + wait_needed(now)`."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """This lets `rate` calls begin per `per` seconds, and up to `burst` of them at once.

    The generic cell rate algorithm (ITU-T I.371, annex A), which equals a token bucket of `burst` tokens. In any
    time of t seconds at most `burst + rate * t / per` calls begin. Where calls wait all the time, so many do, if
    whoever waits is never late by more than `burst - 1` intervals: what is late by more is lost, as with a burst of 1
    all of it is.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    rate: float
    per: Seconds = 1.0
    burst: int = 1

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        check_positive("per", self.per)
        check_positive("per / rate", self.interval)
        check_count("burst", self.burst)

    @property
    def interval(self) -> Seconds:
        """The time from one call to the next."""
        return self.per / self.rate

    def fresh(self) -> RateState:
        """Return the state of one key, which has not seen a call."""
        return RateState(self.interval, self.burst)


class RateState:
    """This is where the calls of one key stand: a gate (`policy.gate.Gate`).

    The theoretical arrival time of the algorithm, when all that was let through has been paid for, is kept as an
    instant and a number of intervals since then. A sum of floats would drift, and lose the last call of a burst.
    """

    __slots__ = ("_burst", "_interval", "_since", "_taken")

    def __init__(self, interval: Seconds, burst: int) -> None:
        self._interval, self._burst = interval, burst
        self._since: Instant = -math.inf
        self._taken = 0

    def wait_needed(self, now: Instant) -> Seconds:
        """Return how long until one more call fits, if no other takes its place."""
        wait = (self._taken - self._burst + 1) * self._interval - (now - self._since)
        return wait if wait > SLACK * math.ulp(now) else 0.0

    def refusal(self, now: Instant) -> RateLimited | None:
        """Return what a call is told that does not fit now; None: it fits."""
        wait = self.wait_needed(now)
        return RateLimited(wait) if wait else None

    def take(self, now: Instant) -> None:
        """Let one call through. Raises RateLimited, and nothing has changed then."""
        if (refusal := self.refusal(now)) is not None:
            raise refusal
        if self.is_at_rest(now):
            self._since, self._taken = now, 0
        self._taken += 1

    def give_back(self, now: Instant, *, started: Instant) -> None:
        """Give nothing back: by the time another could use it, it may be paid for, and would be one too many."""

    def ended(self, now: Instant, *, started: Instant, error: BaseException | None = None) -> None:
        """Note nothing: only beginnings count."""

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether all that was let through is paid for."""
        return now - self._since >= self._taken * self._interval

    def change_interval(self, interval: Seconds, now: Instant) -> None:
        """Go on at another rate: as many calls are paid for as were, and what is owed is owed at the new rate."""
        if self._taken:
            self._since = now - (now - self._since) * interval / self._interval
        self._interval = interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """This finds the rate that a service can take, between two bounds, by how the calls end.

    Additive increase, multiplicative decrease (Chiu and Jain 1989), as in TCP: a failure multiplies the rate by
    `decrease`, calls that end well add up to `increase` per `per` seconds. The failures of one moment count once: how
    a call ends that began before the last decrease says nothing of the rate since then (as NewReno's recovery,
    RFC 6582).

    Args:
        low: the lowest rate, in calls per `per` seconds.
        high: the highest.
        start: the first; None: the highest.
        per: the time that rates are counted in.
        burst: how many calls may begin at once.
        increase: what the rate grows by in `per` seconds in which it was used in full and nothing failed; of a rate
            below 1, what it grows by with each call that ends well.
        decrease: what a failure multiplies the rate by.
        failures: which exceptions are failures. `RetryAfter` always is one; other exceptions are answers, and good.
        forget_after: what was learnt is forgotten after so many seconds in which no call began or ended.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    low: float
    high: float
    start: float | None = None
    per: Seconds = 1.0
    burst: int = 1
    increase: float = 1.0
    decrease: float = 0.5
    failures: Kinds = Exception
    forget_after: Seconds = 60.0

    def __post_init__(self) -> None:
        for name in ("low", "high", "per", "increase", "forget_after"):
            check_positive(name, getattr(self, name))
        check_count("burst", self.burst)
        check_kinds("failures", self.failures)
        if not self.low <= self.first_rate <= self.high:  # so that NaN is refused too
            raise ValueError(
                f"adaptive needs low <= start <= high, got low={self.low}, start={self.start}, high={self.high}"
            )
        check_positive("per / low", self.per / self.low)
        check_positive("per / high", self.per / self.high)
        if not 0 < self.decrease < 1:
            raise ValueError(f"decrease must be between 0 and 1, got {self.decrease!r}")

    @property
    def first_rate(self) -> float:
        """The rate of a key that nothing is known of."""
        return self.high if self.start is None else self.start

    def fresh(self) -> AdaptiveState:
        """Return the state of one key, which has not seen a call."""
        return AdaptiveState(self)


class AdaptiveState:
    """This is where the calls of one key stand, and what was learnt of it: a gate (`policy.gate.Gate`)."""

    __slots__ = ("_cut_at", "_heard_at", "_rate", "_settings", "_state")

    def __init__(self, settings: Adaptive) -> None:
        self._settings = settings
        self._rate = settings.first_rate
        self._state = RateState(settings.per / self._rate, settings.burst)
        self._cut_at: Instant = -math.inf
        self._heard_at: Instant = -math.inf

    def rate(self, now: Instant) -> float:
        """Return how many calls may begin in `per` seconds, as things stand."""
        self._forget_what_is_old(now)
        return self._rate

    def wait_needed(self, now: Instant) -> Seconds:
        """Return how long until one more call fits at the present rate, if no other takes its place."""
        self._forget_what_is_old(now)
        return self._state.wait_needed(now)

    def refusal(self, now: Instant) -> RateLimited | None:
        """Return what a call is told that does not fit now; None: it fits."""
        self._forget_what_is_old(now)
        return self._state.refusal(now)

    def take(self, now: Instant) -> None:
        """Let one call through. Raises RateLimited, and nothing has changed then."""
        self._forget_what_is_old(now)
        self._state.take(now)
        self._heard_at = now

    def give_back(self, now: Instant, *, started: Instant) -> None:
        """Give nothing back, as with a set rate."""

    def ended(self, now: Instant, *, started: Instant, error: BaseException | None = None) -> None:
        """Learn from how a call ended."""
        self._forget_what_is_old(now)
        self._heard_at = now
        if started <= self._cut_at:
            return
        settings = self._settings
        verdict = Verdict.BAD if isinstance(error, RetryAfter) else judge(settings.failures, error)
        if verdict is Verdict.GOOD:
            # `rate` calls end in `per` seconds: together they add `increase`. One call alone never adds more.
            step = settings.increase / max(1.0, self._rate)
            self._change_rate(min(settings.high, self._rate + step), now)
        elif verdict is Verdict.BAD:
            self._cut_at = now
            self._change_rate(max(settings.low, self._rate * settings.decrease), now)

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether all that was let through is paid for, and nothing is known."""
        self._forget_what_is_old(now)
        is_as_new = self._rate == self._settings.first_rate and self._cut_at == -math.inf
        return is_as_new and self._state.is_at_rest(now)

    def _forget_what_is_old(self, now: Instant) -> None:
        if now - self._heard_at >= self._settings.forget_after:
            self._cut_at = self._heard_at = -math.inf
            self._change_rate(self._settings.first_rate, now)

    def _change_rate(self, rate: float, now: Instant) -> None:
        if rate != self._rate:
            self._rate = rate
            self._state.change_interval(self._settings.per / rate, now)
