"""Interruptions that race with the end of calls: none may strike anything but its own call."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any, cast

import pytest

from millhand import ThreadPool
from millhand.pool.interrupt import Guard, Interrupted
from tests.pool.gate import lost

# An interruption may hit a finaliser that happens to run in the call: then it is lost, and Python says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROUNDS = 20_000


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def dice() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed: {seed}")
    return random.Random(seed)


def spin(steps: int) -> int:
    total = 0
    for n in range(steps):
        total += n
    return total


def test_a_guard_lets_nothing_out_of_its_call(dice: random.Random) -> None:
    """The thread between two calls is never hit, and a call is hit by its own interruption only."""
    guards: list[Guard] = []
    ready, over, hits = threading.Semaphore(0), threading.Event(), 0

    def interrupt_each() -> None:
        for n in range(ROUNDS):
            ready.acquire()
            if over.is_set():
                return
            spin(n % 60)
            guards[n].interrupt()

    thread = threading.Thread(target=interrupt_each)
    thread.start()
    try:
        for _ in range(ROUNDS):
            guard = Guard()
            guards.append(guard)
            ready.release()
            try:
                guard.call(spin, dice.randrange(100))
            except Interrupted:
                hits += 1
            spin(5)  # what would be hit by one that came late
    finally:
        over.set()
        ready.release(ROUNDS)
        thread.join()

    assert 0 < hits <= ROUNDS


def test_a_pool_whose_calls_are_interrupted_as_they_end_loses_nothing(dice: random.Random) -> None:
    """A worker that is hit outside of a call would die, or fail the wrong call."""
    with ThreadPool(2) as pool:
        view, plain = pool.with_options(interrupt=True), []
        for _ in range(ROUNDS):
            future = cast("Any", view.submit(spin, dice.randrange(300)))
            plain.append(pool.submit(spin, 20))
            spin(dice.randrange(60))
            future.cancel(running=True)
        assert {future.result(10) for future in plain} == {spin(20)}
        pool.submit(int).result(10)
    stats = pool.stats()

    assert stats.failed == 0
    assert (stats.submitted, lost(stats)) == (2 * ROUNDS + 1, 0)


def test_calls_that_are_interrupted_while_they_submit_and_wait_lose_nothing(dice: random.Random) -> None:
    with ThreadPool(2) as pool, ThreadPool(2, queue_size=20) as other:
        view = pool.with_options(interrupt=True)

        def submit_and_wait() -> None:
            while True:
                futures = [other.submit(spin, 5) for _ in range(5)]
                futures[0].cancel()
                for future in futures[1:]:
                    future.result()

        for _ in range(300):
            future = cast("Any", view.submit(submit_and_wait))
            while not future.running():
                spin(20)
            spin(dice.randrange(3_000))
            future.cancel(running=True)
            with pytest.raises(CancelledError):
                future.result(10)
        other.submit(int).result(10)
    stats = other.stats()

    assert (stats.running, stats.waiting, lost(stats)) == (0, 0, 0)
    assert lost(pool.stats()) == 0
