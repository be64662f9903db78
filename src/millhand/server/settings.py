"""What the HTTP face can be told, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from millhand.core.clock import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """This holds the bounds of a server. Raises ValueError when one makes no sense."""

    max_body: int = 1024 * 1024
    """The longest request body, in bytes; a longer one is refused with 413."""
    room_wait: Seconds = 5.0
    """How long a submit waits for room in a full queue, but never more than half of `http_timeout`."""
    queue_size: int | None = 100_000
    """How many jobs may wait in the store before submits are refused; None: no bound."""
    max_waiting: int = 10_000
    """How many submits may wait for their commit or for room; more are refused at once, so memory stays flat."""
    http_timeout: Seconds = 10.0
    """How long a request's body may take to arrive, and its answer to be made (long polls: after their wait)."""
    drain_delay: Seconds = 0.0
    """How long `/readyz` says no before the server stops accepting, so that balancers look elsewhere."""
    metrics_enabled: bool = True
    """Whether `/metrics` answers (404 otherwise)."""

    def __post_init__(self) -> None:
        _at_least("max_body", self.max_body, 1)
        _at_least("max_waiting", self.max_waiting, 1)
        if self.queue_size is not None:
            _at_least("queue_size", self.queue_size, 1)
        _duration("room_wait", self.room_wait)
        _duration("drain_delay", self.drain_delay)
        _duration("http_timeout", self.http_timeout)
        if self.http_timeout == 0:
            raise ValueError("http_timeout must be longer than 0 s, or no request could be answered")


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _duration(name: str, value: Seconds) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of seconds and not negative, got {value!r}")
