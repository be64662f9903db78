"""The bodies of requests and answers, as msgspec structs that server and client share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from millhand.codec.duration import parse_duration
from millhand.core.clock import Instant, Seconds
from millhand.core.errors import ErrorInfo
from millhand.core.job import Job, JobState
from millhand.wire.errors import BadRequest

LONGEST: Seconds = 100 * 366 * 86400.0
"""No delay or timeout is longer than a hundred years, so every instant has a name in ISO 8601."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Priority = Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)]
Attempts = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class SubmitBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """This is what `POST /jobs` takes. What is left out gets the job type's default."""

    type: Name
    payload: msgspec.Raw = msgspec.Raw()
    """An object of keyword arguments, an array of positional ones, or nothing."""
    queue: Name | None = None
    priority: Priority | None = None
    delay: float | str | None = None
    timeout: float | str | None = None
    max_attempts: Attempts | None = None

    def delay_seconds(self) -> Seconds | None:
        """Return the delay. Raises BadRequest when it is no duration."""
        return None if self.delay is None else read_duration(self.delay, "$.delay")

    def timeout_seconds(self) -> Seconds | None:
        """Return the timeout. Raises BadRequest when it is no duration, or nothing could run in it."""
        if self.timeout is None:
            return None
        seconds = read_duration(self.timeout, "$.timeout")
        if not seconds:
            raise BadRequest("a timeout must be longer than 0 s", "$.timeout")
        return seconds


class ErrorBody(msgspec.Struct, frozen=True):
    """This is what the last attempt raised."""

    type: str
    message: str
    traceback: str


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """This is a job as it stood when it was read; instants are ISO 8601 in UTC, with milliseconds."""

    id: str
    type: str
    state: JobState
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    payload: msgspec.Raw
    result: msgspec.Raw
    error: ErrorBody | None
    cancel_requested: bool
    timeout: Seconds | None
    submitted_at: str
    run_at: str
    started_at: str | None
    finished_at: str | None
    runner: str | None

    @classmethod
    def of(cls, job: Job) -> JobBody:
        """Return the body that tells this job."""
        return cls(
            id=job.id,
            type=job.type,
            state=job.state,
            queue=job.queue,
            priority=job.priority,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            payload=msgspec.Raw(job.payload),
            result=msgspec.Raw("null" if job.result is None else job.result),
            error=None if job.error is None else _error_body(job.error),
            cancel_requested=job.cancel_requested,
            timeout=job.timeout,
            submitted_at=iso(job.submitted_at),
            run_at=iso(job.run_at),
            started_at=None if job.started_at is None else iso(job.started_at),
            finished_at=None if job.finished_at is None else iso(job.finished_at),
            runner=job.runner,
        )


class JobList(msgspec.Struct, frozen=True):
    """This is one page of jobs, newest first; `next_cursor` asks for the next one, null says there is none."""

    jobs: list[JobBody]
    next_cursor: str | None


class Accepted(msgspec.Struct, frozen=True):
    """This says that a job is on disk."""

    job_id: str
    status: str = "accepted"


def iso(instant: Instant) -> str:
    """Write an instant as ISO 8601, such as `2026-01-31T12:00:00.250Z`."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _error_body(error: ErrorInfo) -> ErrorBody:
    return ErrorBody(error.type, error.message, error.traceback)


def read_duration(value: float | str, path: str) -> Seconds:
    """Return the seconds that a field or parameter stands for. Raises BadRequest that blames `path`."""
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise BadRequest(str(error), path) from None
    if seconds > LONGEST:
        raise BadRequest(f"{value!r} is longer than a hundred years", path)
    return seconds
