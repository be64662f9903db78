"""The one place where an outcome becomes a job's next state."""

from __future__ import annotations

import random

import pytest

from millhand.core import Cancelled, Done, ErrorInfo, Failed, JobState, Outcome, Snoozed, TimedOut
from millhand.policy import Backoff, Decision, Finish, Retry, RunAgain

ERROR = ErrorInfo("ValueError", "boom", "Traceback…")
LATE = ErrorInfo("TimedOut", "still running after 2.5 s")
RETRY = Retry(Backoff(base=4.0, factor=1.0, cap=4.0))

TABLE: list[tuple[Outcome, int, Decision | None]] = [
    (Done("1"), 1, Finish(JobState.COMPLETED, result="1")),
    (Done("1"), 3, Finish(JobState.COMPLETED, result="1")),
    (Cancelled(), 1, Finish(JobState.CANCELLED)),
    (Cancelled(), 3, Finish(JobState.CANCELLED)),
    (Snoozed(9.0), 1, RunAgain(9.0, counts_as_attempt=False)),
    (Snoozed(9.0), 3, RunAgain(9.0, counts_as_attempt=False)),
    (Failed(ERROR, final=True), 1, Finish(JobState.FAILED, error=ERROR)),
    (Failed(ERROR), 3, Finish(JobState.FAILED, error=ERROR)),
    (Failed(ERROR), 4, Finish(JobState.FAILED, error=ERROR)),
    (TimedOut(2.5), 3, Finish(JobState.FAILED, error=LATE)),
]


@pytest.mark.parametrize(("outcome", "attempt", "decision"), TABLE)
def test_an_outcome_that_ends_a_job_or_does_not_count(outcome: Outcome, attempt: int, decision: Decision) -> None:
    assert RETRY.after(outcome, attempt=attempt, max_attempts=3, chance=random.Random(1)) == decision


@pytest.mark.parametrize(("outcome", "error"), [(Failed(ERROR), ERROR), (TimedOut(2.5), LATE)])
@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attempt_that_failed_is_followed_by_another_while_there_are_some_left(
    outcome: Outcome, error: ErrorInfo, attempt: int
) -> None:
    decision = RETRY.after(outcome, attempt=attempt, max_attempts=3, chance=random.Random(1))

    assert isinstance(decision, RunAgain)
    assert (decision.error, decision.counts_as_attempt) == (error, True)
    assert 0 <= decision.delay <= 4.0


def test_the_wait_grows_with_the_attempts() -> None:
    retry = Retry(Backoff(base=1.0, factor=10.0, cap=1_000.0))

    def longest(attempt: int) -> float:
        draws = [
            retry.after(Failed(ERROR), attempt=attempt, max_attempts=9, chance=random.Random(seed))
            for seed in range(200)
        ]
        return max(draw.delay for draw in draws if isinstance(draw, RunAgain))

    assert 0.8 < longest(1) <= 1
    assert 8 < longest(2) <= 10
    assert 80 < longest(3) <= 100
