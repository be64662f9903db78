"""What a running function can learn about the job it runs for."""

from __future__ import annotations

from contextvars import ContextVar

from millhand.core.job import ClaimedJob


class CurrentJob:
    """The attempt that is running here. `token` guards outside effects: a later attempt has a higher one."""

    def __init__(self, job: ClaimedJob) -> None:
        self.id, self.type = job.id, job.type
        self.attempt, self.max_attempts, self.token = job.attempt, job.max_attempts, job.token
        self.cancel_requested = False
        """Whether somebody asked for this job to be cancelled, or its time is up; stop soon and tidily then."""


_current: ContextVar[CurrentJob] = ContextVar("millhand_current_job")


def current_job() -> CurrentJob:
    """Return the job that this function runs for.

    Raises:
        LookupError: outside of a job.
    """
    try:
        return _current.get()
    except LookupError:
        raise LookupError("current_job() has an answer only inside a function that a Runner runs") from None


def set_current_job(job: CurrentJob) -> None:
    """Make `current_job` answer with this job in the present context; the runner calls this."""
    _current.set(job)
