"""Several limits asked as one, and one for each key, forgotten when it is at rest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.core import CircuitOpen, QueueFull, RateLimited
from millhand.policy import Adaptive, Breaker, Bulkhead, Gate, Limits, PerKey, RateLimit

BOOM = OSError("boom")
MAKERS: dict[str, Callable[[], Gate]] = {
    "adaptive": Adaptive(low=0.5, high=4.0, burst=2, forget_after=6.0).fresh,
    "breaker": Breaker(consecutive=2, failure_rate=0.5, minimum_calls=3, window=4.0, open_for=2.0, probes=2).fresh,
    "breaker, of failures in a row": Breaker(consecutive=2, window=4.0, open_for=2.0).fresh,
    "bulkhead": Bulkhead(2).fresh,
    "rate": RateLimit(2.0, burst=2).fresh,
}
MAKERS["all"] = lambda: Limits(*(MAKERS[name]() for name in ("breaker", "rate", "bulkhead")))
FUTURE = [0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 9.0]

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.25, 0.5, 1.0, 7.0]),
        st.sampled_from(["take", "take", "give_back", "good", "bad"]),
        st.integers(0, 2),
    ),
    max_size=80,
)


def drive(step: str, gate: Gate, now: float, running: list[float]) -> None:
    """Do one thing to a gate, if it can be done."""
    if step == "take":
        if not gate.wait_needed(now):
            gate.take(now)
            running.append(now)
    elif running and step == "give_back":
        gate.give_back(now, started=running.pop(0))
    elif running:
        gate.ended(now, started=running.pop(0), error=BOOM if step == "bad" else None)


# ── Limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(steps)
def test_a_call_passes_all_the_gates_or_takes_nothing_from_any(steps: Any) -> None:
    gates = [MAKERS[name]() for name in ("breaker", "rate", "bulkhead", "adaptive")]
    limits, now, running = Limits(*gates), 0.0, list[float]()

    for gap, step, _ in steps:
        now += gap
        waits = [gate.wait_needed(now) for gate in gates]
        refusals = [refusal for gate in gates if (refusal := gate.refusal(now)) is not None]
        assert limits.wait_needed(now) == max(waits)
        assert limits.is_at_rest(now) == all(gate.is_at_rest(now) for gate in gates)
        if refusals:
            before = copy.deepcopy(gates)
            with pytest.raises(type(refusals[0])) as caught:
                limits.take(now)
            assert str(caught.value) == str(refusals[0])
            for later in FUTURE:
                seen = [gate.wait_needed(now + later) for gate in copy.deepcopy(gates)]
                assert seen == [gate.wait_needed(now + later) for gate in copy.deepcopy(before)]
        drive(step, limits, now, running)


def test_a_call_that_is_let_through_takes_from_each_gate_once() -> None:
    rate, bulkhead = RateLimit(1.0, burst=2).fresh(), Bulkhead(5).fresh()
    limits = Limits(rate, bulkhead)

    limits.take(0.0)
    limits.take(0.0)

    assert bulkhead.running == 2
    assert rate.wait_needed(0.0) == 1.0


def test_who_is_refused_by_one_gate_has_not_used_up_a_token_of_another() -> None:
    rate, bulkhead = RateLimit(1.0, burst=2).fresh(), Bulkhead(1).fresh()
    limits = Limits(rate, bulkhead)
    limits.take(0.0)

    for _ in range(10):
        with pytest.raises(QueueFull):
            limits.take(0.0)
    limits.ended(0.0, started=0.0)

    assert limits.wait_needed(0.0) == 0.0


def test_the_first_gate_that_refuses_is_the_one_that_is_told_of() -> None:
    breaker, rate = Breaker(consecutive=1).fresh(), RateLimit(1.0).fresh()
    rate.take(0.0)
    breaker.ended(0.0, started=-1.0, error=BOOM)

    assert isinstance(Limits(breaker, rate).refusal(0.0), CircuitOpen)
    assert isinstance(Limits(rate, breaker).refusal(0.0), RateLimited)


def test_no_limits_let_everything_through() -> None:
    limits = Limits()
    limits.take(0.0)

    assert limits.wait_needed(0.0) == 0.0
    assert limits.is_at_rest(0.0)


# ── Per key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=300, deadline=None)
@given(steps=steps)
def test_nobody_can_tell_what_has_been_forgotten(kind: str, steps: Any) -> None:
    per_key, remembered, now = PerKey(MAKERS[kind]), [MAKERS[kind]() for _ in range(3)], 0.0
    running: list[list[float]] = [[] for _ in remembered]
    running_too = copy.deepcopy(running)

    for gap, step, key in steps:
        now += gap
        drive(step, per_key.at(key, now), now, running[key])
        drive(step, remembered[key], now, running_too[key])
        for other, gate in enumerate(remembered):
            assert per_key.at(other, now).wait_needed(now) == pytest.approx(gate.wait_needed(now), abs=1e-9)


@given(st.lists(st.integers(0, 30), max_size=300), st.integers(1, 20))
def test_what_is_not_at_rest_is_never_forgotten(keys: list[int], held: int) -> None:
    per_key = PerKey(Bulkhead(1).fresh)
    for key in range(held):
        per_key.at(("held", key), 0.0).take(0.0)

    for key in keys:
        per_key.at(key, 0.0)

    assert [per_key.at(("held", key), 0.0).running for key in range(held)] == [1] * held


def test_keys_that_are_made_up_for_each_call_take_the_memory_of_those_that_are_not_at_rest() -> None:
    per_key = PerKey(RateLimit(1.0).fresh)

    sizes = []
    for number in range(20_000):  # a hundred in a second, each at rest after a second
        per_key.at(number, number / 100).take(number / 100)
        sizes.append(len(per_key))

    assert max(sizes) <= 2 * 100 + 2


def test_after_a_rush_the_memory_is_given_back() -> None:
    per_key = PerKey(Bulkhead(1).fresh)
    for number in range(1_000):
        per_key.at(number, 0.0).take(0.0)
    for number in range(1_000):
        per_key.at(number, 0.0).ended(0.0, started=0.0)

    for number in range(1_000):
        per_key.at(("new", number), 0.0)

    assert len(per_key) <= 2


def test_a_key_has_its_object_to_itself() -> None:
    per_key = PerKey(RateLimit(1.0).fresh)
    per_key.at("a", 0.0).take(0.0)

    assert per_key.at("a", 0.0).wait_needed(0.0) == 1.0
    assert per_key.at("b", 0.0).wait_needed(0.0) == 0.0
