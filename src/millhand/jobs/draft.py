"""From a wish to a job that can be enqueued: names resolved, arguments checked, options filled in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from millhand.core.clock import Seconds
from millhand.core.job import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, NewJob
from millhand.jobs.ids import is_id, new_id
from millhand.jobs.registry import JobType

MAX_NAME = 200
"""Characters in the name of a type or queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What a submit may say about a job; None: what its type was registered with.

    Args:
        queue: which queue it waits in.
        priority: higher runs sooner; one level is worth a minute of waiting.
        delay: not before this many seconds from now.
        timeout: how long one attempt may take, in seconds.
        max_attempts: how often it may be tried.

    Raises:
        ValueError: at once, when one of them makes no sense.
    """

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay: Seconds = 0.0
    timeout: Seconds | None = None
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        if not self.queue or len(self.queue) > MAX_NAME:
            raise ValueError(f"queue must be a name of 1 to {MAX_NAME} characters, got {self.queue!r}")
        if abs(self.priority) > 1_000_000:
            raise ValueError(f"priority must lie between -1,000,000 and 1,000,000, got {self.priority}")
        if not (self.delay >= 0 and math.isfinite(self.delay)):
            raise ValueError(f"delay must be 0 or more seconds, got {self.delay}")
        if self.timeout is not None and not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise ValueError(f"timeout must be more than 0 seconds, got {self.timeout}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {self.max_attempts}")


def make_draft(
    name: str, payload: str, registered: JobType | None, options: JobOptions, id: str | None = None
) -> NewJob:
    """Return the job to enqueue; `registered` (None: known elsewhere only) fills what the options leave open.

    Raises:
        ValueError: when `id` is not the text of a UUID, or the name is too long.
    """
    if id is not None and not is_id(id):
        raise ValueError(f"a job's id must be the text of a UUID, got {id!r}")
    if not name or len(name) > MAX_NAME:
        raise ValueError(f"a type must be a name of 1 to {MAX_NAME} characters, got {name!r}")
    timeout, max_attempts = options.timeout, options.max_attempts
    if registered is not None:
        timeout = timeout or registered.timeout
        max_attempts = max_attempts or registered.max_attempts
    return NewJob(
        id=id or new_id(),
        type=name,
        payload=payload,
        queue=options.queue,
        priority=options.priority,
        delay=options.delay,
        timeout=timeout,
        max_attempts=max_attempts or DEFAULT_MAX_ATTEMPTS,
    )
