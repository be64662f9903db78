"""States and the moves between them."""

from __future__ import annotations

import itertools

import pytest

from millhand.core import JobState
from millhand.core.job import MOVES, WAITING

ENDS = {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}


def test_every_state_is_in_the_table_of_moves() -> None:
    assert set(MOVES) == set(JobState)


@pytest.mark.parametrize("state", list(JobState))
def test_the_ends_are_completed_failed_and_cancelled(state: JobState) -> None:
    assert state.is_end is (state in ENDS)


def test_an_end_is_final_but_a_failed_job_can_be_redriven() -> None:
    assert {end: MOVES[end] for end in ENDS} == {
        JobState.COMPLETED: frozenset(),
        JobState.CANCELLED: frozenset(),
        JobState.FAILED: {JobState.PENDING},
    }


def test_only_a_pending_job_is_claimed_and_only_a_processing_one_completes_or_fails() -> None:
    def before(state: JobState) -> set[JobState]:
        return {start for start, ends in MOVES.items() if state in ends}

    assert before(JobState.PROCESSING) == {JobState.PENDING}
    assert before(JobState.COMPLETED) == before(JobState.FAILED) == {JobState.PROCESSING}


def test_every_job_that_has_not_ended_can_be_cancelled() -> None:
    assert all(JobState.CANCELLED in MOVES[state] for state in set(JobState) - ENDS)


def test_no_state_moves_to_itself() -> None:
    assert not any(state in MOVES[state] for state in JobState)


def test_an_end_can_be_reached_from_everywhere_outside_the_ends() -> None:
    for state, end in itertools.product(set(JobState) - ENDS, ENDS):
        seen, front = set(), {state}
        while front:
            seen |= front
            front = {after for one in front for after in MOVES[one]} - seen
        assert end in seen


def test_what_waits_is_pending_or_scheduled() -> None:
    assert {JobState.PENDING, JobState.SCHEDULED} == WAITING


def test_a_state_is_its_own_word() -> None:
    assert [str(state) for state in JobState] == [
        "pending",
        "scheduled",
        "processing",
        "completed",
        "failed",
        "cancelled",
    ]
