"""Policies on calls in processes: as with threads, and what a process's death makes of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from millhand import ProcessPool, TaskTimeout, WorkerCrashed
from millhand.policy import Backoff, Bulkhead, RateLimit, Retry
from tests.process import calls
from tests.process.patience import PATIENCE, told

Make = Callable[..., ProcessPool]
AT_ONCE = Backoff(base=0)


def fail_until(folder: Path, attempts: int) -> int:
    """Leave a trace of each call, and fail before this one."""
    (folder / str(len(list(folder.iterdir())))).touch()
    called = len(list(folder.iterdir()))
    if called < attempts:
        raise ConnectionError(called)
    return called


def die_once(folder: Path) -> int:
    """Die at the first call."""
    if not list(folder.iterdir()):
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_a_call_that_fails_is_tried_again(make: Make, tmp_path: Path) -> None:
    pool = make(2)

    assert pool.with_options(retry=Retry(3, AT_ONCE)).submit(fail_until, tmp_path, 3).result(PATIENCE) == 3

    stats = pool.stats()
    assert (stats.submitted, stats.done, stats.failed, stats.retried) == (1, 1, 0, 2)


def test_a_call_whose_process_died_is_tried_again_if_the_policy_says_so(make: Make, tmp_path: Path) -> None:
    pool = make(1)
    view = pool.with_options(retry=Retry(2, AT_ONCE, retry_on=WorkerCrashed))

    assert view.submit(die_once, tmp_path).result(PATIENCE) > 0


def test_calls_that_wait_hold_no_process_and_are_cancelled_at_once(make: Make, tmp_path: Path) -> None:
    pool = make(1)
    view = pool.with_options(rate=RateLimit(1, per=3600))
    assert view.submit(int).result(PATIENCE) == 0
    limited = view.submit(int)

    assert [pool.submit(int, n).result(PATIENCE) for n in "123"] == [1, 2, 3]
    pool.shutdown(cancel_futures=True)
    assert limited.cancelled()


def test_a_shutdown_waits_for_what_is_parked(make: Make, tmp_path: Path) -> None:
    pool = make(2)
    view = pool.with_options(retry=Retry(3, Backoff(base=0.01, jitter="none")), bulkhead=Bulkhead(1))
    futures = [view.submit(fail_until, tmp_path, 2) for _ in range(3)]

    pool.shutdown()

    assert sorted(future.result(0) for future in futures) == [2, 3, 4]


@pytest.mark.slow
def test_a_call_that_overstays_its_timeout_is_killed_and_not_tried_again(make: Make, tmp_path: Path) -> None:
    pool = make(1)
    began = tmp_path / "began"
    future = pool.with_options(retry=Retry(3, AT_ONCE), timeout=0.3).submit(calls.hold, began, tmp_path / "never")

    assert isinstance(future.exception(PATIENCE), TaskTimeout)
    assert len(told(began)) == 1
    assert pool.stats().retried == 0
