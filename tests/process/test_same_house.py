"""A pool of processes keeps every promise that the pool of threads makes: the same test, the same call, either kind.

This part: the doors, what a full queue does, orders, and limits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, CancelledError, as_completed, wait
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from millhand import Future, PoolClosed, QueueFull, TaskDropped, TaskTimeout
from millhand.pool.options import WhenFull
from tests.pool.gate import Aside, lost
from tests.process.house import KINDS, Gate, Pools, eventually, fail, gating, give_back, heeding, making, note, noted

pytestmark = pytest.mark.slow
Gates = Callable[[], Gate]
DROPPING = [policy for policy in get_args(WhenFull) if policy.startswith("drop")]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Pools]:
    with making(request.param) as make:
        yield make


@pytest.fixture
def gates(make: Pools, tmp_path: Path) -> Iterator[Gates]:
    with gating(tmp_path) as gates:
        yield gates


# The doors.


def test_a_call_gets_its_arguments_whatever_they_are_called(make: Pools) -> None:
    future = make(1).submit(give_back, 1, "2", self=3, fn=4, timeout=5, args=6)

    assert isinstance(future, Future)
    assert future.result(10) == ((1, "2"), {"self": 3, "fn": 4, "timeout": 5, "args": 6})


@pytest.mark.parametrize(
    "error", [LookupError("no", 7), SystemExit(3), KeyboardInterrupt(), CancelledError()], ids=repr
)
def test_what_a_call_raises_is_raised_where_its_result_is_wanted(make: Pools, error: BaseException) -> None:
    pool = make(1)
    future = pool.submit(fail, error)

    with pytest.raises(type(error)) as caught:
        future.result(10)

    assert caught.value.args == error.args
    assert pool.submit(int, "7").result(10) == 7


def test_the_standard_library_waits_for_the_futures(make: Pools) -> None:
    pool = make(2)
    futures = [pool.submit(pow, 2, n) for n in range(20)]
    bad = pool.submit(fail, LookupError())

    assert sorted(future.result() for future in as_completed(futures, 10)) == [2**n for n in range(20)]
    assert bad in wait([bad], 10, FIRST_EXCEPTION).done


def test_a_call_that_waits_can_be_cancelled_and_never_runs(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(1), gates(), tmp_path / "log"
    gate.hold(pool)
    future, behind = pool.submit(note, str(log), "cancelled"), pool.submit(note, str(log), "behind")

    assert future.cancel()
    gate.open()

    assert behind.result(10) == "behind"
    assert noted(log) == "behind"
    assert pool.stats().cancelled == 1


def test_a_call_that_runs_can_be_stopped(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    future = pool.submit(heeding(gate))
    gate.await_calls()

    assert not future.cancel()
    assert future.cancel(running=True)

    with pytest.raises(CancelledError):
        future.result(10)
    assert pool.submit(int, "7").result(10) == 7


def test_a_closed_pool_takes_no_call(make: Pools) -> None:
    pool = make(1)
    pool.shutdown()

    with pytest.raises(PoolClosed):
        pool.submit(int)
    assert pool.stats().refused == 1


# A full queue.


def test_a_full_queue_blocks_until_a_worker_takes_one(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=2), gates()
    gate.hold(pool)
    waiting = [pool.submit(int, n) for n in range(2)]

    blocked = Aside(lambda: pool.submit(int, 2).result(10))

    assert blocked.is_blocked()
    assert pool.stats().waiting == 2
    gate.open()
    assert blocked.outcome() == 2
    assert [future.result(10) for future in waiting] == [0, 1]


@pytest.mark.parametrize("bound", ["by the pool", "by the call"])
def test_blocking_ends_with_the_submit_timeout(make: Pools, gates: Gates, bound: str) -> None:
    options = {"submit_timeout": 0.01}
    pool, gate = make(1, queue_size=1, **(options if bound == "by the pool" else {})), gates()
    gate.hold(pool)
    pool.submit(int)
    door = pool if bound == "by the pool" else pool.with_options(**options)

    with pytest.raises(QueueFull, match="1 of 1 places are taken"):
        door.submit(int)


@pytest.mark.parametrize("bound", ["by the pool", "by the call"])
def test_rejecting_raises_at_once_and_says_how_full(make: Pools, gates: Gates, bound: str) -> None:
    options = {"when_full": "reject"}
    pool, gate = make(1, queue_size=2, **(options if bound == "by the pool" else {})), gates()
    gate.hold(pool)
    waiting = [pool.submit(int) for _ in range(2)]
    door = pool if bound == "by the pool" else pool.with_options(**options)

    with pytest.raises(QueueFull) as caught:
        door.submit(int)
    gate.open()
    wait(waiting, 10)

    assert (caught.value.waiting, caught.value.limit) == (2, 2)
    assert pool.stats().refused == 1


def test_caller_runs_in_the_thread_of_the_submit(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=1, when_full="caller_runs"), gates()
    gate.hold(pool)
    waiting = pool.submit(int)

    future, failed = pool.submit(os.getpid), pool.submit(fail, LookupError("here"))

    assert (future.done(), future.result(0)) == (True, os.getpid())
    assert isinstance(failed.exception(0), LookupError)
    assert not waiting.done()


@pytest.mark.parametrize(
    ("policy", "dropped"), [("drop_oldest", "first"), ("drop_newest", "third"), ("drop_lowest", "second")]
)
def test_a_full_queue_drops_whom_it_says(
    make: Pools, gates: Gates, tmp_path: Path, policy: WhenFull, dropped: str
) -> None:
    pool, gate, log = make(1, queue_size=2, when_full=policy), gates(), tmp_path / "log"
    gate.hold(pool)
    calls = {"first": 1, "second": 0, "third": 2}

    futures = {
        name: pool.with_options(priority=priority).submit(note, str(log), name) for name, priority in calls.items()
    }
    gate.open()
    wait(futures.values(), 10)

    with pytest.raises(TaskDropped, match=f"note was dropped .*{policy}"):
        futures[dropped].result(0)
    assert set(noted(log).split()) == calls.keys() - {dropped}
    assert pool.stats().dropped == 1


def test_an_event_loop_is_never_blocked_by_submit(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=1), gates()
    gate.hold(pool)

    async def main() -> int:
        future = pool.submit(int, "7")  # there is a place: nothing to wait for
        with pytest.raises(QueueFull, match="1 of 1 places are taken; await"):
            pool.submit(int)
        gate.open()
        result: int = await future
        return result

    assert asyncio.run(main()) == 7


def test_a_shutdown_sends_a_blocked_submitter_away(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=1), gates()
    gate.hold(pool)
    waiting, blocked = pool.submit(int), Aside(lambda: pool.submit(int))
    assert blocked.is_blocked()

    pool.shutdown(wait=False)

    assert isinstance(blocked.outcome(), PoolClosed)
    gate.open()
    assert waiting.result(10) == 0


def test_without_a_queue_a_call_is_taken_only_if_a_worker_is_free(make: Pools, gates: Gates) -> None:
    pool, gate = make(2, queue_size=0, when_full="reject"), gates()
    gate.hold(pool, 2)

    with pytest.raises(QueueFull):
        pool.submit(int)
    gate.open(2)

    assert eventually(lambda: pool.stats().running == 0)
    assert pool.submit(int, "7").result(10) == 7


def test_without_a_queue_a_submit_blocks_until_a_worker_is_free(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=0), gates()
    gate.hold(pool)

    blocked = Aside(lambda: pool.submit(int, "7").result(10))

    assert blocked.is_blocked()
    gate.open()
    assert blocked.outcome() == 7


@pytest.mark.parametrize("policy", DROPPING)
def test_without_a_queue_there_is_only_the_newcomer_to_drop(make: Pools, gates: Gates, policy: WhenFull) -> None:
    pool, gate = make(1, queue_size=0, when_full=policy), gates()
    [held] = gate.hold(pool)

    assert isinstance(pool.submit(int).exception(10), TaskDropped)
    gate.open()
    assert held.result(10) == 0


def test_the_queue_is_no_longer_for_a_pool_that_knows_its_calls_are_quick(make: Pools, gates: Gates) -> None:
    """A process is given several quick calls at once; what it gives back still has to have a place in the queue."""
    pool, gate = make(1, queue_size=8, when_full="reject"), gates()
    view = pool.with_options(when_full="block")
    for future in [view.submit(int) for _ in range(2_000)]:
        future.result(10)
    pool.pause()
    ahead = [pool.submit(gate.wait), *(pool.submit(int) for _ in range(7))]
    pool.resume()
    gate.await_calls()
    assert eventually(lambda: pool.stats().running == 1)

    taken = ahead[1:]
    with pytest.raises(QueueFull):
        taken.extend(iter(partial(pool.submit, int), None))
    gate.open()
    wait(taken, 10)

    assert len(taken) == 8


# Orders.


@pytest.mark.parametrize(
    ("settings", "calls", "expected"),
    [
        ({"order": "fifo"}, [(0, None), (0, None), (0, None), (0, None)], "0 1 2 3"),
        ({"order": "lifo"}, [(0, None), (0, None), (0, None), (0, None)], "3 2 1 0"),
        ({"order": "fifo", "ageing": None}, [(0, None), (2, None), (-1, None), (2, None)], "1 3 0 2"),
        ({"order": "lifo", "ageing": None}, [(0, None), (2, None), (-1, None), (2, None)], "3 1 0 2"),
        ({"order": "fair"}, [(0, "a"), (0, "a"), (0, "a"), (0, "b")], "0 3 1 2"),
    ],
)
@pytest.mark.parametrize("quick", [False, True], ids=["fresh", "knows-its-calls-are-quick"])
def test_each_order_runs_calls_as_it_says(  # noqa: PLR0917 - a table, and what it is about
    make: Pools, gates: Gates, tmp_path: Path, settings: Any, calls: Any, expected: str, quick: bool
) -> None:
    pool, gate, log = make(1, **settings), gates(), tmp_path / "log"
    if quick:
        for future in [pool.submit(int) for _ in range(1_000)]:
            future.result(10)
    gate.hold(pool)

    futures = [
        pool.with_options(priority=priority, key=key).submit(note, str(log), str(n))
        for n, (priority, key) in enumerate(calls)
    ]
    gate.open()
    wait(futures, 10)

    assert noted(log) == expected


def test_a_priority_can_be_changed_while_a_call_waits_and_no_longer(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(1, ageing=None), gates(), tmp_path / "log"
    [held] = gate.hold(pool)
    futures = [pool.with_options(priority=n).submit(note, str(log), str(n)) for n in range(3)]

    assert futures[0].set_priority(9)
    assert not held.set_priority(9)
    gate.open()
    wait(futures, 10)

    assert noted(log) == "0 2 1"
    assert not futures[0].set_priority(1)


# Limits.


def test_a_call_that_runs_too_long_fails_while_it_still_runs(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()

    future, behind = pool.with_options(timeout=0.05).submit(gate.wait), pool.submit(int, "7")

    with pytest.raises(TaskTimeout, match=r"wait_at was still running after 0\.05 s"):
        future.result(10)
    assert behind.result(10) == 7
    stats = pool.stats()
    assert (stats.timed_out, lost(stats)) == (1, 0)


def test_the_time_in_all_counts_from_the_submit(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(1), gates(), tmp_path / "log"
    gate.hold(pool)

    future = pool.with_options(total_timeout=0.05).submit(note, str(log), "late")

    with pytest.raises(TaskTimeout, match=r"note had not ended 0\.05 s after it was submitted"):
        future.result(10)
    gate.open()
    assert pool.submit(int, "7").result(10) == 7
    assert noted(log) == ""


def test_when_the_time_of_the_pool_is_over_so_is_all_that_waits_and_runs(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, total_timeout=0.5), gates()

    futures = pool.submit(gate.wait), pool.submit(int)

    assert [type(future.exception(10)) for future in futures] == [TaskTimeout] * 2
    assert isinstance(pool.submit(int).exception(10), TaskTimeout)
    assert lost(pool.stats()) == 0


def test_a_call_that_ends_in_time_is_not_disturbed(make: Pools) -> None:
    pool = make(2)
    view = pool.with_options(timeout=60, total_timeout=60)

    assert [future.result(10) for future in [view.submit(pow, 2, n) for n in range(100)]] == [2**n for n in range(100)]
    assert pool.stats().timed_out == 0
