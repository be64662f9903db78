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
MOST = 1_000_000
"""The highest priority, and the most attempts."""


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
        _check_name("queue", self.queue)
        _check_whole("priority", self.priority, -1_000_000)
        if not (self.delay >= 0 and math.isfinite(self.delay)):
            raise ValueError(f"delay must be 0 or more seconds, got {self.delay}")
        if self.timeout is not None and not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise ValueError(f"timeout must be more than 0 seconds, got {self.timeout}")
        if self.max_attempts is not None:
            _check_whole("max_attempts", self.max_attempts, 1)


def make_draft(
    name: str, payload: str, registered: JobType | None, options: JobOptions, id: str | None = None
) -> NewJob:
    """Return the job to enqueue; `registered` (None: known elsewhere only) fills what the options leave open.

    Raises:
        ValueError: when `id` is not the text of a UUID, or the name is too long.
    """
    if id is not None and not is_id(id):
        raise ValueError(f"a job's id must be the text of a UUID, got {id!r}")
    _check_name("type", name)
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


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"{what} must be a name of 1 to {MAX_NAME} printable characters, got {name!r}")


def _check_whole(what: str, number: int, least: int) -> None:
    if not isinstance(number, int) or not least <= number <= MOST:
        raise ValueError(f"{what} must be a whole number from {least:,} to {MOST:,}, got {number!r}")
