"""What the errors say; that each survives pickling is held by tests/architecture."""

from __future__ import annotations

import copy
import math
import pickle

import pytest

from millhand.core import (
    BadArguments,
    CircuitOpen,
    ErrorInfo,
    IllegalMove,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LeaseLost,
    MillhandError,
    Overloaded,
    PoolClosed,
    QueueFull,
    RateLimited,
    RetryAfter,
    StoreError,
    SystemClock,
    TaskTimeout,
    UnknownJobType,
)

ERRORS: list[tuple[MillhandError, type[Exception], list[str]]] = [
    (QueueFull(7, 9), MillhandError, ["7 of 9", "queue_size"]),
    (QueueFull(7, 9, "come back on Monday"), MillhandError, ["come back on Monday"]),
    (PoolClosed("it was shut down"), RuntimeError, ["it was shut down"]),
    (TaskTimeout("resize", 1.5), TimeoutError, ["resize", "1.5 s"]),
    (RetryAfter(2.5), MillhandError, ["2.5 s"]),
    (RateLimited(0.25), MillhandError, ["0.25 s", "burst"]),
    (CircuitOpen(30.0, "3 calls in a row failed"), MillhandError, ["30 s", "3 calls in a row failed"]),
    (Overloaded(3.0, 2.0), MillhandError, ["3 s", "2 s", "submit less"]),
    (BadArguments("resize", "Expected `int`", "$.size"), ValueError, ["resize", "Expected `int`", "$.size"]),
    (UnknownJobType("resise", ("resize", "mail")), LookupError, ["'resise'", "mail, resize"]),
    (UnknownJobType("resise"), LookupError, ["known: none"]),
    (JobNotFound("j1"), LookupError, ["'j1'"]),
    (
        JobFailed("j1", ErrorInfo("ValueError", "boom", "Traceback…")),
        MillhandError,
        ["j1", "ValueError: boom", "Trace"],
    ),
    (JobCancelled("j1"), MillhandError, ["j1", "cancelled"]),
    (IllegalMove("j1", "completed", "pending"), MillhandError, ["j1", "completed", "pending"]),
    (LeaseLost("j1", 3), MillhandError, ["token 3", "j1"]),
    (StoreError("disk full"), MillhandError, ["disk full"]),
]


@pytest.mark.parametrize(("error", "caught_as", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_says_what_happened_and_is_caught_as_what_it_is(
    error: MillhandError, caught_as: type[Exception], words: list[str]
) -> None:
    assert isinstance(error, caught_as)
    assert isinstance(error, MillhandError)
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(("error", "caught_as", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_the_same_after_a_journey(
    error: MillhandError, caught_as: type[Exception], words: list[str]
) -> None:
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is type(error)
        assert (str(copied), vars(copied)) == (str(error), vars(error))


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_a_wait_that_nobody_can_keep_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        RetryAfter(seconds)


def test_the_machines_clock_goes_forward() -> None:
    clock = SystemClock()

    assert clock.monotonic() <= clock.monotonic()
    assert clock.now() > 1_700_000_000
