"""A circuit that opens, and is tried with a few calls before it closes."""

from __future__ import annotations

import math
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.core import CircuitOpen, TaskCancelled
from millhand.policy import Breaker, BreakerState

BOOM = OSError("boom")


@dataclass
class Model:
    """The slow, obvious model: everything is written down, and counted anew for each question."""

    breaker: Breaker
    opened: bool = False
    changed_at: float = -math.inf
    heard_at: float = -math.inf
    ends: list[tuple[float, bool]] = field(default_factory=list)
    """(when, failed) of all that ended while it is closed."""
    probes: list[tuple[float, str]] = field(default_factory=list)
    """(when it began, "running", "good", "nothing" or "lost") of all that passed since it opened."""

    def circuit(self, now: float) -> str:
        if now - self.heard_at >= self.breaker.window + (self.breaker.open_for if self.opened else 0):
            self.change(opened=False, at=-math.inf)
            self.heard_at = -math.inf
        if not self.opened:
            return "closed"
        return "open" if now < self.changed_at + self.breaker.open_for else "half-open"

    def change(self, *, opened: bool, at: float) -> None:
        self.opened, self.changed_at, self.ends, self.probes = opened, at, [], []

    def wait_needed(self, now: float) -> float:
        circuit = self.circuit(now)
        if circuit == "closed":
            return 0.0
        if circuit == "open":
            return self.changed_at + self.breaker.open_for - now
        if self.with_state("running", "good") < self.breaker.probes:
            return 0.0
        return max(0.0, max(at for at, _ in self.probes) + self.breaker.open_for - now)

    def with_state(self, *states: str) -> int:
        return sum(state in states for _, state in self.probes)

    def take(self, now: float) -> None:
        if self.circuit(now) == "half-open":
            if self.with_state("running", "good") >= self.breaker.probes:
                self.probes = [(at, "lost" if state == "running" else state) for at, state in self.probes]
            self.probes.append((now, "running"))
            self.heard_at = now

    def ended(self, now: float, started: float, how: str) -> None:
        self.circuit(now)
        if started <= self.changed_at:
            return
        self.heard_at = now
        if self.opened:
            self.probe_ended(now, started, how)
        elif how != "nothing":
            self.ends.append((now, how == "bad"))
            if self.is_over_a_limit(now):
                self.change(opened=True, at=now)

    def probe_ended(self, now: float, started: float, how: str) -> None:
        same = [n for n, probe in enumerate(self.probes) if probe == (started, "running")]
        if how == "bad":
            self.change(opened=True, at=now)
        elif same:
            self.probes[same[0]] = started, how
        elif how == "good":
            self.probes.append((started, "good"))  # one that began before it was forgotten, or was given up
        if self.opened and self.with_state("good") >= self.breaker.probes:
            self.change(opened=False, at=now)

    def is_over_a_limit(self, now: float) -> bool:
        consecutive, share = self.breaker.consecutive, self.breaker.failure_rate
        if consecutive is not None and [bad for _, bad in self.ends[-consecutive:]] == [True] * consecutive:
            return True
        width = self.breaker.window / 10
        recent = [bad for at, bad in self.ends if at // width > now // width - 10]
        return share is not None and len(recent) >= self.breaker.minimum_calls and sum(recent) >= share * len(recent)


ENDS: list[tuple[BaseException | None, str]] = [
    (None, "good"),
    (KeyError(), "good"),
    (BOOM, "bad"),
    (BOOM, "bad"),
    (TaskCancelled("call"), "nothing"),
    (KeyboardInterrupt(), "nothing"),
]
breakers = st.builds(
    Breaker,
    consecutive=st.none() | st.integers(1, 4),
    failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
    minimum_calls=st.integers(1, 6),
    window=st.just(10.0),
    open_for=st.sampled_from([2.0, 20.0]),
    probes=st.integers(1, 3),
    slow_after=st.none() | st.just(4.0),
    failures=st.just((OSError, CancelledError)),
)
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 5.0, 31.0]),
        st.sampled_from(["take", "take", "give_back"]) | st.sampled_from(ENDS),
        st.integers(0, 9),
    ),
    max_size=80,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(breakers, steps)
def test_a_breaker_is_what_follows_from_all_that_has_happened(breaker: Breaker, steps: Any) -> None:
    state, model, now = breaker.fresh(), Model(breaker), 0.0
    running: list[float] = []

    for gap, step, which in steps:
        now += gap
        assert state.circuit(now) == model.circuit(now)
        assert state.wait_needed(now) == pytest.approx(model.wait_needed(now), abs=1e-9)
        assert (state.refusal(now) is None) == (state.wait_needed(now) == 0)
        if step == "take":
            if not state.wait_needed(now):
                state.take(now)
                model.take(now)
                running.append(now)
        elif running:
            started = running.pop(which % len(running))
            if step == "give_back":
                state.give_back(now, started=started)
                model.ended(now, started, "nothing")
            else:
                error, how = step
                is_slow = breaker.slow_after is not None and now - started > breaker.slow_after
                state.ended(now, started=started, error=error)
                model.ended(now, started, "bad" if is_slow and how == "good" else how)


def opened(breaker: Breaker, at: float = 0.0) -> BreakerState:
    """Return a circuit that has opened at this time."""
    state = breaker.fresh()
    for _ in range(breaker.consecutive or breaker.minimum_calls):
        state.take(at)
        state.ended(at, started=at - 0.01, error=BOOM)
    assert state.circuit(at) == "open"
    return state


def test_so_many_failures_in_a_row_open_it_and_no_fewer() -> None:
    state = Breaker(consecutive=3).fresh()

    seen = []
    for error in (BOOM, BOOM, None, BOOM, BOOM, BOOM):
        state.ended(1.0, started=0.5, error=error)
        seen.append(state.circuit(1.0))

    assert seen == ["closed"] * 5 + ["open"]


@pytest.mark.parametrize(
    ("share", "failures", "circuit"), [(0.07, 7, "open"), (0.07, 6, "closed"), (1.0, 99, "closed")]
)
def test_a_share_of_failures_opens_it_exactly_from_that_share_on(share: float, failures: int, circuit: str) -> None:
    state = Breaker(consecutive=None, failure_rate=share, minimum_calls=100).fresh()

    for number in range(100):
        state.ended(1.0, started=0.5, error=BOOM if number < failures else None)

    assert state.circuit(1.0) == circuit


def test_a_share_of_too_few_calls_is_none() -> None:
    state = Breaker(consecutive=None, failure_rate=0.5, minimum_calls=4).fresh()

    for _ in range(3):
        state.ended(1.0, started=0.5, error=BOOM)

    assert state.circuit(1.0) == "closed"


def test_failures_that_are_older_than_the_window_do_not_count() -> None:
    state = Breaker(consecutive=None, failure_rate=0.5, minimum_calls=4, window=10.0).fresh()
    for at in (0.0, 0.5, 6.0):
        state.ended(at, started=at - 0.1, error=BOOM)

    state.ended(11.0, started=10.9, error=BOOM)

    assert state.circuit(11.0) == "closed"


def test_it_says_why_it_is_open_and_when_to_try_again() -> None:
    state = opened(Breaker(consecutive=2, open_for=30.0), at=100.0)

    with pytest.raises(CircuitOpen, match="2 calls in a row failed") as caught:
        state.take(110.0)

    assert caught.value.seconds == 20.0
    assert state.circuit(129.0) == "open"


def test_it_says_which_share_of_the_calls_failed() -> None:
    state = opened(Breaker(consecutive=None, failure_rate=0.5, minimum_calls=4))

    with pytest.raises(CircuitOpen, match="4 of 4 calls failed"):
        state.take(0.0)


def test_only_the_probes_pass_until_as_many_have_ended_well() -> None:
    state = opened(Breaker(probes=2, open_for=30.0))
    state.take(30.0)
    state.take(31.0)

    with pytest.raises(CircuitOpen):
        state.take(31.0)
    state.ended(32.0, started=30.0)
    with pytest.raises(CircuitOpen):
        state.take(32.0)
    state.ended(33.0, started=31.0)

    assert state.circuit(33.0) == "closed"


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    state = opened(Breaker(open_for=30.0))
    state.take(30.0)

    state.ended(31.0, started=30.0, error=BOOM)

    assert state.wait_needed(31.0) == 30.0


def test_a_probe_that_never_ran_leaves_its_place_to_another() -> None:
    state = opened(Breaker(open_for=30.0))
    state.take(30.0)

    state.give_back(30.5, started=30.0)

    assert state.wait_needed(30.5) == 0.0


def test_a_probe_that_hangs_keeps_the_others_out_for_no_longer_than_the_circuit_is_open() -> None:
    state = opened(Breaker(open_for=30.0))
    state.take(30.0)

    assert state.wait_needed(35.0) == 25.0
    assert state.wait_needed(60.0) == 0.0
    state.take(60.0)
    state.give_back(61.0, started=30.0)  # the one that hung: its place is the other's by now
    assert state.wait_needed(61.0) == 29.0


def test_how_calls_end_that_began_before_it_closed_says_nothing_of_it() -> None:
    """A hundred calls that were under way when it opened would open it again as soon as it has closed."""
    state = opened(Breaker(consecutive=1, open_for=30.0))
    state.take(30.0)
    state.ended(31.0, started=30.0)

    state.ended(32.0, started=-1.0, error=BOOM)

    assert state.circuit(32.0) == "closed"


def test_a_probe_that_was_given_up_for_lost_can_still_close_it_and_the_others_say_nothing_then() -> None:
    state = opened(Breaker(consecutive=1, open_for=30.0))
    state.take(30.0)
    state.take(60.0)

    state.ended(60.0, started=30.0)
    state.ended(61.0, started=60.0, error=BOOM)

    assert state.circuit(61.0) == "closed"


def test_a_cancelled_call_says_nothing_however_long_it_took() -> None:
    state = Breaker(consecutive=2, slow_after=1.0).fresh()

    seen = []
    for error, started in ((BOOM, 9.5), (TaskCancelled("call"), 0.0), (BOOM, 9.5)):
        state.ended(10.0, started=started, error=error)
        seen.append(state.circuit(10.0))

    assert seen == ["closed", "closed", "open"]


def test_a_slow_call_is_a_failure_if_asked_for_though_it_returned() -> None:
    asked, not_asked = Breaker(consecutive=1, slow_after=2.0).fresh(), Breaker(consecutive=1).fresh()

    for state in (asked, not_asked):
        state.ended(2.0, started=0.0)
        assert state.circuit(2.0) == "closed"
        state.ended(4.5, started=2.0)

    assert (asked.circuit(4.5), not_asked.circuit(4.5)) == ("open", "closed")


def test_an_open_circuit_that_nobody_asks_about_is_forgotten_and_so_are_failures_in_a_row() -> None:
    open_one, failing = opened(Breaker(open_for=30.0, window=60.0)), Breaker(consecutive=2, window=60.0).fresh()
    failing.ended(0.0, started=-0.1, error=BOOM)

    assert (open_one.is_at_rest(89.0), open_one.is_at_rest(90.0)) == (False, True)
    assert (failing.is_at_rest(59.0), failing.is_at_rest(60.0)) == (False, True)


def test_a_circuit_whose_probe_is_under_way_is_not_forgotten() -> None:
    state = opened(Breaker(open_for=30.0, window=60.0))

    state.take(85.0)

    assert (state.circuit(174.0), state.circuit(175.0)) == ("half-open", "closed")


def test_a_circuit_that_has_closed_or_counts_calls_is_at_rest_when_the_window_is_over() -> None:
    closed, counting = opened(Breaker(open_for=30.0)), Breaker(failure_rate=0.5, window=60.0).fresh()
    closed.take(30.0)
    closed.ended(30.0, started=30.0)
    counting.ended(30.0, started=29.0)

    assert not closed.is_at_rest(89.0)
    assert not counting.is_at_rest(80.0)
    assert closed.is_at_rest(90.0)
    assert counting.is_at_rest(90.0)


def test_a_circuit_in_which_nothing_failed_is_at_rest_at_once() -> None:
    state = Breaker().fresh()
    state.take(0.0)
    state.ended(1.0, started=0.0)

    assert state.is_at_rest(1.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"consecutive": None},
        {"consecutive": 0},
        {"consecutive": True},
        {"failure_rate": 0.0},
        {"failure_rate": 1.5},
        {"failure_rate": math.nan},
        {"minimum_calls": 0},
        {"window": 0.0},
        {"window": math.inf},
        {"open_for": 0.0},
        {"probes": 0},
        {"probes": 1.5},
        {"slow_after": 0.0},
        {"failures": ("OSError",)},
        {"failures": int},
    ],
    ids=str,
)
def test_a_breaker_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        Breaker(**fields)
