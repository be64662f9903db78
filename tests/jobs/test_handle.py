"""A submitted job from the submitter's side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millhand.core import ClaimedJob, ErrorInfo, JobCancelled, JobFailed, JobNotFound, JobState
from millhand.jobs import JobHandle, Jobs
from millhand.jobs.ids import new_id
from millhand.jobs.store import Ending
from tests.jobs.ledger import BOOM


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    with Jobs("sqlite://") as jobs:
        jobs.register(add)
        yield jobs


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
def handle(jobs: Jobs) -> JobHandle:
    return jobs.submit(add, 1, 2)


def claim(jobs: Jobs) -> ClaimedJob:
    jobs.store.housekeeping.announce("r1", lease=60.0)
    [job] = jobs.store.claims.claim("r1", room=1, types=["*"]).jobs
    return job


def finish(jobs: Jobs, state: JobState, result: str | None = None, error: ErrorInfo | None = None) -> None:
    job = claim(jobs)
    assert jobs.store.claims.finish([Ending(job.id, job.token, state, result=result, error=error)]) == [True]


def test_a_handle_reads_its_job(jobs: Jobs, handle: JobHandle) -> None:
    before = handle.state
    finish(jobs, JobState.COMPLETED, "3")

    assert (before, handle.state) == (JobState.PENDING, JobState.COMPLETED)
    assert handle.read() == jobs.store.reading.get(handle.id)
    assert repr(handle) == f"JobHandle('{handle.id}')"


@pytest.mark.parametrize(
    ("kept", "value"), [("3", 3), ('{"a":[1,null]}', {"a": [1, None]}), ("null", None), (None, None)]
)
def test_the_result_is_what_the_function_returned(
    jobs: Jobs, handle: JobHandle, kept: str | None, value: object
) -> None:
    finish(jobs, JobState.COMPLETED, kept)

    assert handle.result(timeout=10) == value


def test_a_job_that_has_not_ended_in_time_goes_on(handle: JobHandle) -> None:
    with pytest.raises(TimeoutError, match=r"still pending after 0\.01 s"):
        handle.result(timeout=0.01)

    assert handle.state is JobState.PENDING


def test_a_failed_job_tells_what_its_last_attempt_raised(jobs: Jobs, handle: JobHandle) -> None:
    finish(jobs, JobState.FAILED, error=BOOM)

    with pytest.raises(JobFailed, match="ValueError: boom") as caught:
        handle.result(timeout=10)

    assert (caught.value.id, caught.value.error) == (handle.id, BOOM)


def test_a_failed_job_without_an_error_still_says_so(jobs: Jobs, handle: JobHandle) -> None:
    finish(jobs, JobState.FAILED)

    with pytest.raises(JobFailed, match="no error was kept"):
        handle.result(timeout=10)


def test_a_cancelled_job_has_no_result(handle: JobHandle) -> None:
    cancelled = handle.cancel()

    assert cancelled is True
    assert handle.state is JobState.CANCELLED
    with pytest.raises(JobCancelled) as caught:
        handle.result(timeout=10)
    assert caught.value.id == handle.id


def test_cancelling_a_running_job_asks_it_to_stop(jobs: Jobs, handle: JobHandle) -> None:
    claim(jobs)

    assert handle.cancel() is True
    assert (handle.state, handle.read().cancel_requested) == (JobState.PROCESSING, True)


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED])
def test_cancelling_a_job_that_had_ended_says_so(jobs: Jobs, handle: JobHandle, state: JobState) -> None:
    finish(jobs, state)

    assert handle.cancel() is False
    assert handle.state is state


def test_a_handle_of_an_unknown_job_finds_nothing(jobs: Jobs) -> None:
    handle = jobs.handle(new_id())

    for ask in (handle.read, handle.result, handle.cancel, lambda: handle.state):
        with pytest.raises(JobNotFound):
            ask()


def test_any_process_can_make_a_handle_from_the_id(jobs: Jobs, handle: JobHandle) -> None:
    finish(jobs, JobState.COMPLETED, "3")

    assert jobs.handle(handle.id).result(timeout=10) == 3
