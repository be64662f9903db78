"""Every error that millhand raises, under one root.

    MillhandError
    ├─ QueueFull                    no place, and told not to wait (or waited long enough)
    ├─ PoolClosed      RuntimeError submitted after shutdown began
    ├─ TaskTimeout     TimeoutError a call ran, or waited and ran, longer than its timeout
    ├─ TaskDropped                  a full queue dropped a waiting call to make room
    ├─ TaskCancelled   CancelledError raised inside a running call that was asked to stop
    ├─ NestedWaitLimit RuntimeError calls wait for calls of their own pool, deeper than it can staff
    ├─ WorkerCrashed                the process that ran the call has died
    ├─ NotPicklable    PicklingError a call, or its result, cannot travel to another process
    ├─ RetryAfter                   raised by a call: try me again, but not sooner than this
    ├─ RateLimited                  a rate limit has no room for the call yet
    ├─ CircuitOpen                  a breaker lets no call through, since others have failed
    ├─ Overloaded                   a call would come, or has come, too late to be worth running
    ├─ StageError                   an item failed at a stage of a pipeline; the cause is what the stage raised
    ├─ WrongBatch      ValueError   a batch came back with more or fewer results than it had items
    ├─ BadArguments    ValueError   arguments that the function's signature refuses
    ├─ UnknownJobType  LookupError  a job type that nobody registered
    ├─ JobNotFound     LookupError  no job has this id
    ├─ JobFailed                    the job ended in `failed`; carries the remote error
    ├─ JobCancelled                 the job ended in `cancelled`
    ├─ IllegalMove                  a change of state that the table in `core.job` does not allow
    ├─ LeaseLost                    a finish by a worker that no longer owns the job
    └─ StoreError                   the database refused or could not be reached

All of them cross processes: the fields are the constructor's arguments, the text is made by `__str__`.
"""

from __future__ import annotations

import math
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pickle import PicklingError


class MillhandError(Exception):
    """The root of every error raised by millhand itself (a user's own exceptions pass through whole)."""


class QueueFull(MillhandError):
    """This says that every place in a queue was taken, and that the caller was not to wait any longer."""

    def __init__(self, waiting: int, limit: int, remedy: str = "wait and try again, or raise queue_size") -> None:
        super().__init__(waiting, limit, remedy)
        self.waiting, self.limit, self.remedy = waiting, limit, remedy

    def __str__(self) -> str:
        return f"{self.waiting} of {self.limit} places are taken; {self.remedy}"


class PoolClosed(MillhandError, RuntimeError):
    """This says that a pool takes no more work; a RuntimeError, as the standard library raises here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TaskTimeout(MillhandError, TimeoutError):
    """This says that a call ran longer than it was allowed to; with `total`, that it waited and ran too long."""

    def __init__(self, name: str, timeout: float, total: bool = False) -> None:  # noqa: FBT001, FBT002 - a field, as in a record
        super().__init__(name, timeout, total)
        self.name, self.timeout, self.total = name, timeout, total

    def __str__(self) -> str:
        if self.total:
            return f"{self.name} had not ended {self.timeout:g} s after it was submitted; allow more, or submit less"
        return f"{self.name} was still running after {self.timeout:g} s; raise its timeout or make it shorter"


class TaskDropped(MillhandError):
    """This says that a full queue dropped a call before it ran; `policy` is what the pool was told to do then."""

    def __init__(self, name: str, policy: str) -> None:
        super().__init__(name, policy)
        self.name, self.policy = name, policy

    def __str__(self) -> str:
        return f"{self.name} was dropped from a full queue (when_full={self.policy!r}); raise queue_size, or block"


class TaskCancelled(MillhandError, CancelledError):
    """This is raised inside a running call that was asked to stop; let it pass, and the call ends as cancelled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name} was asked to stop"


class NestedWaitLimit(MillhandError, RuntimeError):
    """This says that too many calls wait for other calls of their pool. `chain` names who waits for whom."""

    def __init__(self, limit: int, chain: tuple[str, ...]) -> None:
        super().__init__(limit, chain)
        self.limit, self.chain = limit, chain

    def __str__(self) -> str:
        return (
            f"{self.limit} workers wait for calls of their own pool, the last one: {' -> '.join(self.chain)}; "
            "let calls return what is left to do instead of waiting for it"
        )


class WorkerCrashed(MillhandError):
    """This says that the process that ran a call has died, and how; other calls are not touched by it.

    Args:
        name: the call's.
        reason: what ended the process.
        exitcode: as `multiprocessing.Process.exitcode` has it: the negative number of a signal, or what it exited with.
        stderr: the last that it wrote there.
    """

    def __init__(self, name: str, reason: str, exitcode: int | None = None, stderr: str = "") -> None:
        super().__init__(name, reason, exitcode, stderr)
        self.name, self.reason, self.exitcode, self.stderr = name, reason, exitcode, stderr

    def __str__(self) -> str:
        tail = f"; the last that it wrote to stderr:\n{self.stderr}" if self.stderr else ""
        return f"the process that ran {self.name} {self.reason}{tail}"


class NotPicklable(MillhandError, PicklingError):
    """This says that something cannot travel to another process, or back.

    Args:
        what: what it is.
        reason: why not.
        tried_cloudpickle: whether cloudpickle, which can do more, was at hand.
    """

    def __init__(self, what: str, reason: str, tried_cloudpickle: bool = False) -> None:  # noqa: FBT001, FBT002 - a field, as in a record
        super().__init__(what, reason, tried_cloudpickle)
        self.what, self.reason, self.tried_cloudpickle = what, reason, tried_cloudpickle

    def __str__(self) -> str:
        remedy = "" if self.tried_cloudpickle else ", or install cloudpickle"
        return (
            f"{self.what} cannot travel between processes ({self.reason}); "
            f"use functions and classes that stand in a module{remedy}"
        )


class RetryAfter(MillhandError):
    """This is raised by a call that wants to be tried again after exactly so many seconds (an HTTP 429 told it, say).

    Raises:
        ValueError: the seconds are negative, or not finite.
    """

    def __init__(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:  # so that NaN is refused too
            raise ValueError(f"RetryAfter needs a finite number of seconds, 0 or more, got {seconds!r}")
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"asked to be tried again in {self.seconds:g} s"


class RateLimited(MillhandError):
    """This says that a call would exceed a rate limit now, and fits in `seconds` if no other takes its place."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the rate limit has room again in {self.seconds:g} s; wait that long, or raise the rate or the burst"


class CircuitOpen(MillhandError):
    """This says that a circuit breaker refuses calls, why, and in how many seconds it is worth asking again."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(seconds, reason)
        self.seconds, self.reason = seconds, reason

    def __str__(self) -> str:
        return f"the circuit is open, since {self.reason}; try again in {self.seconds:g} s"


class Overloaded(MillhandError):
    """This says that a call was refused because it takes too long to get it done: `expected` of `allowed` seconds."""

    def __init__(self, expected: float, allowed: float) -> None:
        super().__init__(expected, allowed)
        self.expected, self.allowed = expected, allowed

    def __str__(self) -> str:
        return f"it takes {self.expected:g} s where {self.allowed:g} s are allowed; submit less, or allow more time"


class StageError(MillhandError):
    """This says which item failed at which stage of a pipeline; its `__cause__` is what was raised there.

    Args:
        stage: the stage's name.
        item: what the stage was given.
        index: which item of the source that has come of, counted from 0.
    """

    def __init__(self, stage: str, item: object, index: int) -> None:
        super().__init__(stage, item, index)
        self.stage, self.item, self.index = stage, item, index

    def __str__(self) -> str:
        reason = "" if self.__cause__ is None else f": {type(self.__cause__).__name__}: {self.__cause__}"
        return f"stage {self.stage} failed with item {self.index}, {shortened(self.item)}{reason}"


class WrongBatch(MillhandError, ValueError):
    """This says that a function that is called with batches did not return one result for each item."""

    def __init__(self, name: str, items: int, results: str) -> None:
        super().__init__(name, items, results)
        self.name, self.items, self.results = name, items, results

    def __str__(self) -> str:
        return f"{self.name} was given {self.items} items and returned {self.results}; return a list of one result each"


class BadArguments(MillhandError, ValueError):
    """This says which argument a job type refuses, and why. `path` is like `$.size` or `$.items[0]`."""

    def __init__(self, type: str, reason: str, path: str = "$") -> None:
        super().__init__(type, reason, path)
        self.type, self.reason, self.path = type, reason, path

    def __str__(self) -> str:
        return f"{self.type} refuses these arguments: {self.reason} (at {self.path})"


class UnknownJobType(MillhandError, LookupError):
    """This says that no function is registered under this name."""

    def __init__(self, type: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(type, known)
        self.type, self.known = type, known

    def __str__(self) -> str:
        known = ", ".join(sorted(self.known)) or "none"
        return f"no job type {self.type!r} is registered (known: {known}); register it with @jobs.register"


class JobNotFound(MillhandError, LookupError):
    """This says that the store holds no job with this id."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"there is no job {self.id!r}; it may have been removed after its retention time"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What is kept of an exception that a job raised: its class's name, its text and its traceback as text."""

    type: str
    message: str
    traceback: str = ""

    def __post_init__(self) -> None:
        # A text with half a surrogate pair (file names have them) cannot be written as UTF-8, so not be kept.
        for name in ("type", "message", "traceback"):
            text = getattr(self, name)
            if not text.isascii():
                object.__setattr__(self, name, text.encode(errors="backslashreplace").decode())


class JobFailed(MillhandError):
    """This says that a job ended in `failed`: its attempts are spent. `error` tells what the last one raised."""

    def __init__(self, id: str, error: ErrorInfo) -> None:
        super().__init__(id, error)
        self.id, self.error = id, error

    def __str__(self) -> str:
        return f"job {self.id} failed: {self.error.type}: {self.error.message}\n{self.error.traceback}".rstrip()


class JobCancelled(MillhandError):
    """This says that a job ended in `cancelled`, so it has no result."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"job {self.id} was cancelled"


class IllegalMove(MillhandError):
    """This says that a job cannot go from one state to another."""

    def __init__(self, id: str, state: str, wanted: str) -> None:
        super().__init__(id, state, wanted)
        self.id, self.state, self.wanted = id, state, wanted

    def __str__(self) -> str:
        return f"job {self.id} is {self.state} and cannot become {self.wanted}"


class LeaseLost(MillhandError):
    """This says that a job was taken from the worker that wants to finish it; nothing was changed."""

    def __init__(self, id: str, token: int) -> None:
        super().__init__(id, token)
        self.id, self.token = id, token

    def __str__(self) -> str:
        return f"token {self.token} of job {self.id} is stale: the job was given to somebody else; drop this outcome"


class StoreError(MillhandError):
    """This says that the database refused, or could not be reached; what was asked has not been done."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def shortened(value: object, limit: int = 80) -> str:
    """Return how a value looks, cut where it would fill the screen; an object that cannot say it is named."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the error that tells of its object
        text = object.__repr__(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
