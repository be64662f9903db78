from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.policy import DEFAULT_AGEING, rank

instants = st.floats(0, 1e9)
priorities = st.integers(-100, 100)


def test_a_level_of_priority_is_worth_a_minute_by_default() -> None:
    assert DEFAULT_AGEING == 60.0


def test_with_ageing_one_level_outweighs_exactly_one_step_of_waiting() -> None:
    assert rank(1, 60.0, 60.0) == rank(0, 0.0, 60.0)


@given(priorities, instants, st.floats(0.001, 1e4))
def test_with_ageing_everything_is_in_one_band(priority: int, ready_at: float, ageing: float) -> None:
    assert rank(priority, ready_at, ageing)[0] == 0


@given(priorities, priorities, instants)
def test_of_two_that_became_ready_together_the_higher_priority_runs_first(low: int, high: int, at: float) -> None:
    assert (rank(high, at, 60.0) < rank(low, at, 60.0)) == (high > low)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 10**6))
def test_nothing_waits_behind_later_work_for_longer_than_its_levels_are_worth(p: int, more: int, at: int) -> None:
    later = at + more * 60 + 1

    assert rank(p, at, 60.0) < rank(p + more, later, 60.0)


@given(priorities, priorities, instants, instants)
def test_strict_means_that_a_higher_priority_runs_first_however_long_others_wait(
    low: int, high: int, early: float, late: float
) -> None:
    if high > low:
        assert rank(high, late, None) < rank(low, early, None)


@pytest.mark.parametrize("ageing", [None, 60.0])
def test_equal_priorities_run_in_the_order_in_which_they_became_ready(ageing: float | None) -> None:
    assert rank(3, 1.0, ageing) < rank(3, 2.0, ageing)
