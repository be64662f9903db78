"""How long to wait before the next attempt."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.policy import Backoff

lengths = st.floats(min_value=0, max_value=1e6)
shapes = st.sampled_from(
    [
        ("exponential", "full"),
        ("exponential", "none"),
        ("linear", "full"),
        ("linear", "none"),
        ("fixed", "full"),
        ("fixed", "none"),
    ]
)
backoffs = st.builds(
    lambda base, factor, more, shape: Backoff(base, factor, base + more, *shape),
    lengths,
    st.floats(min_value=1, max_value=1e3),
    lengths,
    shapes,
)
attempts = st.integers(1, 10_000)


@given(backoffs, attempts, st.randoms(use_true_random=False))
def test_a_wait_lies_between_nought_and_its_bound_and_the_bound_below_the_cap(
    backoff: Backoff, attempt: int, chance: random.Random
) -> None:
    assert 0 <= backoff.wait(attempt, chance) <= backoff.bound(attempt) <= backoff.cap


@given(backoffs, attempts)
def test_the_bound_never_shrinks(backoff: Backoff, attempt: int) -> None:
    assert backoff.bound(attempt) <= backoff.bound(attempt + 1)


def test_the_bound_begins_at_the_base_and_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base=1.0, factor=2.0, cap=10.0)

    assert [backoff.bound(attempt) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_the_bound_grows_by_the_base_or_threefold_or_not_at_all_if_asked_for() -> None:
    linear = Backoff(base=2.0, cap=7.0, growth="linear")
    decorrelated = Backoff(base=2.0, cap=7.0, jitter="decorrelated")
    fixed = Backoff(base=2.0, cap=7.0, growth="fixed")

    assert [linear.bound(attempt) for attempt in range(1, 6)] == [2, 4, 6, 7, 7]
    assert [decorrelated.bound(attempt) for attempt in range(1, 5)] == [6, 7, 7, 7]
    assert [fixed.bound(attempt) for attempt in range(1, 6)] == [2, 2, 2, 2, 2]


@given(backoffs, attempts)
def test_without_jitter_a_wait_is_its_bound(backoff: Backoff, attempt: int) -> None:
    plain = replace(backoff, jitter="none")

    assert plain.wait(attempt, random.Random(1)) == plain.bound(attempt)


def walk(backoff: Backoff, steps: int, chance: random.Random) -> list[float]:
    """What Brooker's article does: remember the last wait, and draw the next one from it."""
    waits = [backoff.base]
    for _ in range(steps):
        waits.append(min(backoff.cap, chance.uniform(backoff.base, waits[-1] * 3)))
    return waits[1:]


@pytest.mark.parametrize("attempt", [1, 2, 5])
def test_decorrelated_waits_are_distributed_as_those_of_somebody_who_remembers(attempt: int) -> None:
    backoff, chance = Backoff(base=1.0, cap=20.0, jitter="decorrelated"), random.Random(1)

    ours = sorted(backoff.wait(attempt, chance) for _ in range(4_000))
    theirs = sorted(walk(backoff, attempt, chance)[-1] for _ in range(4_000))

    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert ours[int(share * 4_000)] == pytest.approx(theirs[int(share * 4_000)], rel=0.15)


@given(st.integers(1, 50), st.randoms(use_true_random=False))
def test_a_decorrelated_wait_lies_between_the_base_and_its_bound(attempt: int, chance: random.Random) -> None:
    backoff = Backoff(base=2.0, cap=900.0, jitter="decorrelated")

    assert 2.0 <= backoff.wait(attempt, chance) <= backoff.bound(attempt) <= backoff.bound(attempt + 1) <= 900.0


def test_after_very_many_attempts_the_cap_holds() -> None:
    assert Backoff(base=1.0, cap=600.0).bound(1_000_000) == 600.0


def test_a_base_of_nought_never_waits() -> None:
    assert Backoff(base=0.0).wait(5, random.Random(1)) == 0.0
    assert Backoff(base=0.0).bound(1_000_000) == 0.0


def test_waits_are_spread_over_the_whole_range() -> None:
    chance = random.Random(1)

    waits = [Backoff(base=8.0, cap=8.0).wait(1, chance) for _ in range(1_000)]

    assert min(waits) < 0.5
    assert max(waits) > 7.5
    assert 3.5 < sum(waits) / len(waits) < 4.5


@pytest.mark.parametrize(
    "fields",
    [
        {"base": -1.0},
        {"factor": 0.5},
        {"base": 2.0, "cap": 1.0},
        {"base": math.nan},
        {"cap": math.nan},
        {"factor": math.nan},
        {"cap": math.inf},
        {"factor": math.inf},
        {"growth": "cubic"},
        {"jitter": "some"},
        {"growth": "linear", "jitter": "decorrelated"},
    ],
    ids=str,
)
def test_a_backoff_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"backoff|decorrelated"):
        Backoff(**fields)
