"""The one place where an outcome becomes a job's next state, and a failure a wait."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.core import Cancelled, Done, ErrorInfo, Failed, JobState, Outcome, RetryAfter, Snoozed, TimedOut
from millhand.policy import Backoff, Decision, Finish, Retry, RunAgain

ERROR = ErrorInfo("ValueError", "boom", "Traceback…")
LATE = ErrorInfo("TimedOut", "still running after 2.5 s")
RETRY = Retry(backoff=Backoff(base=4.0, factor=1.0, cap=4.0))

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
    retry = Retry(backoff=Backoff(base=1.0, factor=10.0, cap=1_000.0))

    def longest(attempt: int) -> float:
        draws = [
            retry.after(Failed(ERROR), attempt=attempt, max_attempts=9, chance=random.Random(seed))
            for seed in range(200)
        ]
        return max(draw.delay for draw in draws if isinstance(draw, RunAgain))

    assert 0.8 < longest(1) <= 1
    assert 8 < longest(2) <= 10
    assert 80 < longest(3) <= 100


def test_a_kept_job_that_asked_for_a_wait_gets_exactly_that() -> None:
    decision = RETRY.after(Failed(ERROR, retry_after=9.5), attempt=1, max_attempts=3, chance=random.Random(1))

    assert decision == RunAgain(9.5, ERROR)


def test_to_ask_for_a_wait_brings_a_kept_job_no_further_attempt() -> None:
    decision = RETRY.after(Failed(ERROR, retry_after=9.5), attempt=3, max_attempts=3, chance=random.Random(1))

    assert decision == Finish(JobState.FAILED, error=ERROR)


# ── Calls of a pool ──────────────────────────────────────────────────────────────────────────────────────────────────


PLAIN = Backoff(base=2.0, cap=100.0, jitter="none")


def wait_after(retry: Retry, error: BaseException, attempt: int = 1, now: float = 0.0) -> float | None:
    return retry.wait_after(error, attempt=attempt, first_start=0.0, now=now, chance=random.Random(1))


def test_a_call_is_tried_as_often_as_was_said_with_the_backoffs_waits_between() -> None:
    retry = Retry(4, PLAIN)

    assert [wait_after(retry, OSError(), attempt) for attempt in range(1, 6)] == [2.0, 4.0, 8.0, None, None]


def test_without_a_number_of_attempts_there_is_no_end_but_the_deadline() -> None:
    retry = Retry(None, PLAIN, deadline=60.0)

    assert wait_after(retry, OSError(), attempt=1_000, now=-40.0) == 100.0
    assert wait_after(retry, OSError(), attempt=1_000, now=-39.0) is None


@pytest.mark.parametrize(("now", "wait"), [(0.0, 2.0), (8.0, 2.0), (8.5, None), (100.0, None)])
def test_no_attempt_begins_after_the_deadline(now: float, wait: float | None) -> None:
    assert wait_after(Retry(9, PLAIN, deadline=10.0), OSError(), now=now) == wait


def test_the_wait_that_a_call_asks_for_has_no_jitter_and_no_cap() -> None:
    assert wait_after(Retry(2, Backoff(cap=5.0)), RetryAfter(1234.5)) == 1234.5


@pytest.mark.parametrize(("attempt", "now"), [(3, 0.0), (1, 9.0)])
def test_to_ask_for_a_wait_overrides_neither_the_number_of_attempts_nor_the_deadline(attempt: int, now: float) -> None:
    assert wait_after(Retry(3, PLAIN, deadline=10.0), RetryAfter(2.0), attempt, now) is None


def is_busy(error: BaseException) -> bool:
    return "busy" in str(error)


@pytest.mark.parametrize(
    ("retry", "error", "is_tried_again"),
    [
        (Retry(), OSError(), True),
        (Retry(), SystemExit(), True),
        (Retry(), KeyboardInterrupt(), False),
        (Retry(), GeneratorExit(), False),
        (Retry(retry_on=OSError), ConnectionError(), True),
        (Retry(retry_on=OSError), ValueError(), False),
        (Retry(retry_on=(OSError, ValueError)), ValueError(), True),
        (Retry(retry_on=(OSError, ValueError)), KeyError(), False),
        (Retry(retry_on=is_busy), ValueError("busy"), True),
        (Retry(retry_on=is_busy), ValueError("broken"), False),
        (Retry(give_up_on=FileNotFoundError), OSError(), True),
        (Retry(give_up_on=FileNotFoundError), FileNotFoundError(), False),
        (Retry(retry_on=OSError, give_up_on=is_busy), OSError("busy"), False),
        (Retry(retry_on=OSError, give_up_on=Exception), RetryAfter(1.0), True),
    ],
)
def test_the_exception_says_whether_another_attempt_is_worth_it(
    retry: Retry, error: BaseException, is_tried_again: bool
) -> None:
    assert (wait_after(retry, error) is not None) == is_tried_again
    assert retry.covers(error) == is_tried_again


def test_what_a_predicate_raises_passes_through() -> None:
    def broken(error: BaseException) -> bool:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        wait_after(Retry(retry_on=broken), OSError())


@given(
    st.none() | st.integers(1, 5),
    st.none() | st.floats(0.5, 20.0),
    st.lists(st.tuples(st.sampled_from([OSError(), ValueError(), RetryAfter(3.0)]), st.floats(0.0, 5.0)), max_size=8),
)
def test_a_history_of_failures_goes_as_a_loop_with_sleeps_would(
    attempts: int | None, deadline: float | None, failures: list[tuple[Exception, float]]
) -> None:
    retry = Retry(attempts, PLAIN, retry_on=OSError, deadline=deadline)
    now = 0.0

    for attempt, (error, took) in enumerate(failures, start=1):
        now += took
        wait = wait_after(retry, error, attempt, now)
        wanted = 3.0 if isinstance(error, RetryAfter) else min(100.0, 2.0**attempt)
        is_over = isinstance(error, ValueError) or (attempts is not None and attempt >= attempts)
        assert wait == (None if is_over or (deadline is not None and now + wanted > deadline) else wanted)
        if wait is None:
            break
        now += wait


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": 2.5}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"attempts": PLAIN}, "attempts"),
        ({"backoff": 3}, "backoff"),
        ({"retry_on": "OSError"}, "retry_on"),
        ({"retry_on": int}, "retry_on"),
        ({"retry_on": (OSError, is_busy)}, "retry_on"),
        ({"give_up_on": OSError("an instance")}, "give_up_on"),
        ({"deadline": 0.0}, "deadline"),
        ({"deadline": math.nan}, "deadline"),
    ],
    ids=str,
)
def test_a_retry_that_makes_no_sense_is_refused(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Retry(**fields)
