"""How many calls begin in a time, at a set rate and at one that finds itself."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.core import RateLimited, RetryAfter
from millhand.policy import Adaptive, AdaptiveState, RateLimit, RateState


class Bucket:
    """The slow, obvious model: a bucket that tokens drip into, in exact numbers."""

    def __init__(self, rate: float, burst: int, now: float = 0.0) -> None:
        self.rate, self.burst = Fraction(rate), burst
        self.tokens, self.at = Fraction(burst), Fraction(now)

    def wait_needed(self, now: float) -> Fraction:
        self.tokens = min(Fraction(self.burst), self.tokens + (Fraction(now) - self.at) * self.rate)
        self.at = Fraction(now)
        return max(Fraction(0), (1 - self.tokens) / self.rate)

    def take(self) -> None:
        self.tokens -= 1


def starts_of(state: RateState | AdaptiveState, until: float, lateness: float = 0.0, seed: int = 1) -> list[float]:
    """When calls begin that are asked for all the time, by somebody who wakes up late."""
    now, starts, chance = 0.0, list[float](), random.Random(seed)
    while now < until:
        wait = state.wait_needed(now)
        if wait:
            now += wait + chance.uniform(0.0, lateness)
        else:
            state.take(now)
            starts.append(now)
    return starts


# In parts that a float holds exactly, so that the model and the code must agree to the last bit.
intervals = st.sampled_from([0.125, 0.25, 0.375, 1.0, 2.5])
gaps = st.lists(st.integers(0, 40).map(lambda sixteenths: sixteenths / 16), max_size=60)


@given(intervals, st.integers(1, 6), gaps)
def test_a_rate_limit_is_a_token_bucket(interval: float, burst: int, gaps: list[float]) -> None:
    state, model, now = RateLimit(1, per=interval, burst=burst).fresh(), Bucket(1 / Fraction(interval), burst), 0.0

    for gap in gaps:
        now += gap
        assert state.wait_needed(now) == model.wait_needed(now)
        assert state.is_at_rest(now) == (model.tokens == burst)
        if not state.wait_needed(now):
            state.take(now)
            model.take()


@given(st.floats(0.01, 1e5), st.integers(1, 500), st.floats(0, 2e9), st.floats(0.001, 5.0))
def test_a_burst_is_exact_whatever_the_time_and_the_rate(rate: float, burst: int, now: float, later: float) -> None:
    state = RateLimit(rate, burst=burst).fresh()

    for _ in range(burst):
        state.take(now)

    assert state.wait_needed(now) == pytest.approx(1 / rate)
    with pytest.raises(RateLimited):
        state.take(now)


@given(st.floats(0.01, 1e4), st.integers(1, 20), st.floats(0, 2e9))
def test_who_has_waited_for_as_long_as_was_said_may_begin(rate: float, burst: int, now: float) -> None:
    state = RateLimit(rate, burst=burst).fresh()

    for _ in range(3 * burst):
        now += state.wait_needed(now)
        state.take(now)  # raises if it was not enough


@given(st.floats(0.5, 200), st.integers(1, 10), st.floats(0, 0.1), st.integers(0, 1000))
def test_in_no_stretch_of_time_more_begin_than_the_burst_and_the_rate_allow(
    rate: float, burst: int, lateness: float, seed: int
) -> None:
    starts = starts_of(RateLimit(rate, burst=burst).fresh(), 100 / rate, lateness, seed)

    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= burst + (starts[last] - starts[first]) * rate + 1e-6


@pytest.mark.parametrize("rate", [10.0, 33.3, 300.0, 2_000.0])
@pytest.mark.parametrize("burst", [2, 20])
def test_ten_seconds_hold_the_set_rate_to_one_percent_though_those_who_wait_wake_up_late(
    rate: float, burst: int
) -> None:
    starts = starts_of(RateLimit(rate, burst=burst).fresh(), 10.0, lateness=0.9 * (burst - 1) / rate)

    # Up to the last one, for who is late then has not made up for it yet.
    assert len(starts) - burst == pytest.approx(starts[-1] * rate, rel=0.01, abs=1)


def test_ten_thousand_calls_later_the_rate_has_not_drifted() -> None:
    state, now = RateLimit(3, burst=2).fresh(), 1_000.0

    for _ in range(10_000):
        now += state.wait_needed(now)
        state.take(now)

    assert now - 1_000.0 == pytest.approx((10_000 - 2) / 3, abs=1e-6)


def test_a_refusal_says_how_long_to_wait_and_changes_nothing() -> None:
    state = RateLimit(4).fresh()
    state.take(10.0)

    with pytest.raises(RateLimited) as caught:
        state.take(10.1)

    assert caught.value.seconds == pytest.approx(0.15)
    assert state.wait_needed(10.1) == pytest.approx(0.15)


def test_what_was_taken_for_a_call_that_never_ran_is_not_given_back() -> None:
    """Given back after it was paid for, it let two calls begin at once in another's place."""
    state = RateLimit(1).fresh()
    state.take(0.0)
    state.take(1.0)

    state.give_back(1.5, started=0.0)
    state.ended(1.5, started=1.0)

    assert state.wait_needed(1.5) == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {"rate": 0},
        {"rate": -1.0},
        {"rate": math.nan},
        {"rate": math.inf},
        {"rate": "10"},
        {"rate": True},
        {"rate": 1.0, "per": 0.0},
        {"rate": 1e300, "per": 1e-300},
        {"rate": 1e-300, "per": 1e300},
        {"rate": 1.0, "burst": 0},
        {"rate": 1.0, "burst": 1.5},
        {"rate": 1.0, "burst": True},
    ],
    ids=str,
)
def test_a_rate_limit_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be a .* number"):
        RateLimit(**fields)


# ── A rate that finds itself ─────────────────────────────────────────────────────────────────────────────────────────


SETTINGS = Adaptive(low=1.0, high=64.0, start=16.0, burst=4, increase=2.0, failures=OSError, forget_after=30.0)


class AdaptiveModel:
    """The slow, obvious model: all that was heard since the last silence, gone through anew for each question."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float | None, str]] = []
        self.bucket = Bucket(SETTINGS.first_rate, SETTINGS.burst)

    def rate(self, now: float) -> float:
        if self.heard and now - self.heard[-1][0] >= SETTINGS.forget_after:
            self.heard = []
        rate, cut_at = SETTINGS.first_rate, -math.inf
        for at, started, how in self.heard:
            if started is None or started <= cut_at:
                continue
            if how == "good":
                rate = min(SETTINGS.high, rate + SETTINGS.increase / rate)
            elif how == "bad":
                rate, cut_at = max(SETTINGS.low, rate / 2), at
        return rate

    def wait_needed(self, now: float) -> float:
        self.bucket.wait_needed(now)  # what has dripped in so far did so at the old rate
        self.bucket.rate = Fraction(self.rate(now))
        return float(self.bucket.wait_needed(now))


ENDS: list[tuple[BaseException | None, str]] = [
    (None, "good"),
    (ValueError(), "good"),
    (OSError(), "bad"),
    (RetryAfter(1.0), "bad"),
    (KeyboardInterrupt(), "nothing"),
]
adaptive_steps = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01, 0.1, 0.5, 3.0, 40.0]), st.none() | st.sampled_from(ENDS), st.integers(0, 9)),
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(adaptive_steps)
def test_an_adaptive_rate_is_what_follows_from_all_that_was_heard(steps: Any) -> None:
    state, model, now = SETTINGS.fresh(), AdaptiveModel(), 0.0
    running: list[float] = []

    for gap, end, which in steps:
        now += gap
        assert state.wait_needed(now) == pytest.approx(model.wait_needed(now), abs=1e-6)
        assert state.rate(now) == pytest.approx(model.rate(now))
        if end is None and not state.wait_needed(now):
            state.take(now)
            model.bucket.take()
            model.heard.append((now, None, "begun"))
            running.append(now)
        elif end is not None and running:
            error, how = end
            started = running.pop(which % len(running))
            state.ended(now, started=started, error=error)
            model.heard.append((now, started, how))
        # As soon as it is heard: the bucket drips at the new rate from then on.
        assert state.wait_needed(now) == pytest.approx(model.wait_needed(now), abs=1e-6)


def test_an_adaptive_rate_begins_at_the_highest_unless_told() -> None:
    assert Adaptive(low=1, high=50).fresh().rate(0.0) == 50
    assert Adaptive(low=1, high=50, start=5).fresh().rate(0.0) == 5


def test_the_failures_of_one_moment_count_once() -> None:
    state = SETTINGS.fresh()
    for _ in range(4):
        state.take(0.0)

    for at in (0.0, 0.0, 1.1, 1.2):
        state.ended(at, started=0.0, error=OSError())

    assert state.rate(1.2) == 8.0


def test_the_rate_stays_between_its_bounds() -> None:
    state = SETTINGS.fresh()

    for at in range(1, 30):
        state.ended(float(at), started=at - 0.5, error=OSError())
    lowest = state.rate(29.0)
    for at in range(30, 5_000):
        state.ended(float(at), started=at - 0.5)

    assert (lowest, state.rate(4_999.0)) == (1.0, 64.0)


def test_a_rate_used_in_full_grows_by_its_increase_in_each_second() -> None:
    state = Adaptive(low=1.0, high=1e6, start=100.0, increase=5.0).fresh()

    now = 0.0
    while now < 10.0:
        if wait := state.wait_needed(now):
            now += wait
        else:
            state.take(now)
            state.ended(now, started=now)

    assert state.rate(now) == pytest.approx(150.0, rel=0.02)


def test_no_single_call_adds_more_than_the_increase_however_low_the_rate() -> None:
    state = Adaptive(low=0.01, high=100.0, start=0.01, increase=0.5).fresh()

    state.ended(1.0, started=0.5)

    assert state.rate(1.0) == pytest.approx(0.51)


def test_a_service_that_bears_so_much_is_called_nearly_as_often_and_seldom_more() -> None:
    """The saw tooth of AIMD: between half of what the service bears and just above it."""
    state, service = Adaptive(low=1.0, high=1_000.0, increase=5.0, burst=5).fresh(), Bucket(100.0, 10)
    now, good, bad = 0.0, 0, 0

    while now < 60.0:
        if wait := state.wait_needed(now):
            now += wait
            continue
        state.take(now)
        is_refused = service.wait_needed(now) > 0
        if not is_refused:
            service.take()
        state.ended(now + 1e-6, started=now, error=OSError() if is_refused else None)
        good, bad = good + (not is_refused), bad + is_refused
        now += 1e-5

    assert good / 60.0 > 65.0
    assert bad < 0.02 * good


def test_what_was_learnt_is_forgotten_in_silence_but_not_what_was_taken() -> None:
    state = Adaptive(low=0.01, high=0.01, forget_after=5.0).fresh()
    state.take(0.0)

    assert not state.is_at_rest(50.0)
    assert state.wait_needed(50.0) == pytest.approx(50.0)
    assert state.is_at_rest(100.0)


def test_what_was_learnt_is_kept_as_long_as_calls_begin_though_none_has_ended() -> None:
    state = SETTINGS.fresh()
    state.ended(1.0, started=0.5, error=OSError())

    state.take(30.0)

    assert state.rate(59.0) == 8.0
    assert state.rate(60.0) == 16.0


def test_a_key_that_something_was_learnt_of_is_not_at_rest() -> None:
    slower, faster, cut_and_regrown = (
        Adaptive(low=9.9, high=20.0, start=10.0, increase=1.0, decrease=0.5).fresh() for _ in range(3)
    )
    assert slower.is_at_rest(0.0)

    slower.ended(1.0, started=0.5, error=OSError())
    faster.ended(1.0, started=0.5)
    cut_and_regrown.ended(1.0, started=0.5, error=OSError())
    cut_and_regrown.ended(2.0, started=1.5)

    assert not any(state.is_at_rest(3.0) for state in (slower, faster, cut_and_regrown))
    assert all(state.is_at_rest(63.0) for state in (slower, faster, cut_and_regrown))


def test_an_adaptive_rate_that_refuses_says_how_long_to_wait() -> None:
    state = Adaptive(low=1.0, high=4.0).fresh()
    state.take(0.0)
    state.give_back(0.0, started=0.0)

    with pytest.raises(RateLimited) as caught:
        state.take(0.0)

    assert caught.value.seconds == 0.25
    refusal = state.refusal(0.1)
    assert refusal is not None
    assert refusal.seconds == pytest.approx(0.15)


@pytest.mark.parametrize(
    "fields",
    [
        {"low": 0.0},
        {"high": math.inf},
        {"low": 20.0},
        {"start": 0.5},
        {"start": 11.0},
        {"start": math.nan},
        {"per": 0.0},
        {"per": 1e-320, "high": 1e30},
        {"per": 1e300, "low": 1e-300},
        {"burst": 0},
        {"increase": 0.0},
        {"decrease": 0.0},
        {"decrease": 1.0},
        {"decrease": math.nan},
        {"failures": "OSError"},
        {"failures": lambda error: True},
        {"forget_after": 0.0},
    ],
    ids=str,
)
def test_an_adaptive_rate_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        Adaptive(**({"low": 1.0, "high": 10.0} | fields))
