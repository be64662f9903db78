"""How long to wait before the next attempt."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.policy import Backoff

lengths = st.floats(min_value=0, max_value=1e6)
backoffs = st.builds(
    lambda base, factor, more: Backoff(base, factor, base + more),
    lengths,
    st.floats(min_value=1, max_value=1e3),
    lengths,
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
    ],
    ids=str,
)
def test_a_backoff_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(**fields)
