"""What a kept job is, which states it can be in, and which moves between them are legal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import ErrorInfo

DEFAULT_QUEUE = "default"
DEFAULT_MAX_ATTEMPTS = 5


class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    """Claimable now."""
    SCHEDULED = "scheduled"
    """Not due yet: delayed, or waiting for its next attempt."""
    PROCESSING = "processing"
    """Claimed by a runner."""
    COMPLETED = "completed"
    """Its function returned. An end."""
    FAILED = "failed"
    """Its attempts are spent: the dead-letter set. An end, until somebody redrives it."""
    CANCELLED = "cancelled"
    """Somebody cancelled it first. An end."""

    @property
    def is_end(self) -> bool:
        """Whether a job in this state has nothing more to come by itself."""
        return self in _ENDS


_ENDS = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.PROCESSING, JobState.CANCELLED}),
    JobState.SCHEDULED: frozenset({JobState.PENDING, JobState.CANCELLED}),
    JobState.PROCESSING: frozenset(
        {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.SCHEDULED, JobState.PENDING}
    ),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.PENDING}),
    JobState.CANCELLED: frozenset(),
}
"""Every legal move. A store refuses all others; a job is born `pending` or `scheduled`."""

WAITING = frozenset({JobState.PENDING, JobState.SCHEDULED})
"""The states that count against a bound on waiting jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job on its way into a store. Its id is made by the submitter, so that enqueuing can be repeated."""

    id: str
    type: str
    payload: str
    """The arguments by name, as a JSON object."""
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay: Seconds = 0.0
    timeout: Seconds | None = None
    max_attempts: int = DEFAULT_MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """What a runner gets: all it needs to run one attempt, and the token that proves the claim."""

    id: str
    type: str
    payload: str
    token: int
    attempt: int
    max_attempts: int
    timeout: Seconds | None
    rank: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A kept job as it stood when it was read."""

    id: str
    type: str
    state: JobState
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    token: int
    payload: str
    result: str | None = None
    error: ErrorInfo | None = None
    cancel_requested: bool = False
    timeout: Seconds | None = None
    submitted_at: Instant
    run_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    runner: str | None = None
