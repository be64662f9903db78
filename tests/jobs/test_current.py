"""What a running function can learn about its job."""

from __future__ import annotations

import contextvars

import pytest

from millhand.core import ClaimedJob
from millhand.jobs import CurrentJob, current_job
from millhand.jobs.current import set_current_job

JOB = ClaimedJob("j1", "mail", "{}", token=3, attempt=2, max_attempts=5, timeout=None, rank=0.0)


def test_outside_of_a_job_there_is_no_current_one() -> None:
    outside = contextvars.Context()  # whatever another test has left in this one

    with pytest.raises(LookupError, match="inside a function that a Runner runs"):
        outside.run(current_job)


def test_inside_of_a_job_it_is_the_one_that_runs_here() -> None:
    current = CurrentJob(JOB)

    def inside() -> CurrentJob:
        set_current_job(current)
        return current_job()

    assert contextvars.copy_context().run(inside) is current
    assert (current.id, current.type, current.token, current.attempt, current.max_attempts) == ("j1", "mail", 3, 2, 5)


def test_it_says_whether_it_is_to_stop() -> None:
    current = CurrentJob(JOB)
    before = current.cancel_requested

    current.cancel_requested = True

    assert not before
    assert current.cancel_requested
