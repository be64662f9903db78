"""What a pool tells those who listen: facts that have just happened, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from millhand.core.clock import Seconds


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """This says that a worker began a call."""

    name: str
    worker: str
    wait: Seconds
    """From submit to now."""


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """This says that a worker is through with a call; its future has ended before."""

    name: str
    worker: str
    outcome: str
    """returned, raised, cancelled, timed out (its future failed while it went on) or retried (its future has not ended,
    since another attempt is to follow)."""
    run: Seconds


@dataclass(frozen=True, slots=True)
class TaskDiscarded:
    """This says that a call will not run: `reason` is dropped, timed out, failed (with its pool) or refused."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerHired:
    """This says that a worker has come."""

    worker: str


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """This says that a worker has gone."""

    worker: str


@dataclass(frozen=True, slots=True)
class WorkerWrittenOff:
    """This says that a worker is stuck in a call that ran over its timeout, and is replaced."""

    worker: str
    name: str


@dataclass(frozen=True, slots=True)
class PoolResized:
    """This says that a pool may run another number of calls at once from now on."""

    size: int


Event: TypeAlias = TaskStarted | TaskEnded | TaskDiscarded | WorkerHired | WorkerLeft | WorkerWrittenOff | PoolResized
