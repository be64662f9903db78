from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from typing import Any

import pytest

from millhand import PoolClosed, QueueFull, TaskTimeout, ThreadPool
from millhand.core.errors import TaskDropped
from tests.pool.gate import Aside, Gate

Pools = Callable[..., ThreadPool]


def adds_up(pool: Any) -> bool:
    stats = pool.stats()
    ends = stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.dropped + stats.refused
    return bool(stats.submitted == stats.waiting + stats.running + ends and stats.waiting >= 0 and stats.running >= 0)


# Borrowing.


@pytest.mark.parametrize("workers", [0, -1, True, 1.5])
def test_a_sub_pool_has_at_least_one_worker(make: Pools, workers: Any) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0, and a whole number"):
        make(1).subpool(workers)


def test_calls_run_on_the_parents_threads(make: Pools) -> None:
    pool = make(2, thread_name_prefix="parent")
    name = pool.subpool(2).submit(lambda: threading.current_thread().name).result(5)

    assert name.startswith("parent_")


def test_no_more_calls_run_at_once_than_it_may_have_workers(make: Pools) -> None:
    pool = make(4)
    sub = pool.subpool(2)
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    wait([sub.submit(work, n) for n in range(60)])

    assert most == 2


def test_one_kind_of_work_leaves_the_other_workers_alone(make: Pools) -> None:
    pool = make(2)
    sub = pool.subpool(1)
    gate = Gate(sub)
    waiting = [sub.submit(int) for _ in range(50)]

    others = [pool.submit(int).result(5) for _ in range(50)]
    waiting_meanwhile = sub.stats().waiting
    gate.open()

    assert others == [0] * 50
    assert waiting_meanwhile == 50
    assert [future.result(5) for future in waiting] == [0] * 50


def test_the_parents_calls_get_their_turn_in_a_flood_of_the_sub_pool(make: Pools) -> None:
    pool = make(1)
    sub = pool.subpool(1)
    over = threading.Event()
    flooding = threading.Event()

    def flood() -> None:
        flooding.set()
        if not over.is_set():
            sub.submit(flood)
            sub.submit(flood) if sub.stats().waiting < 50 else None

    sub.submit(flood)
    assert flooding.wait(5)
    try:
        assert pool.submit(int).result(5) == 0
    finally:
        over.set()


def test_more_workers_may_be_borrowed_later(make: Pools) -> None:
    pool = make(2)
    sub = pool.subpool(1)
    gate = Gate(sub)
    waiting = sub.submit(int)

    sub.resize(2)

    assert waiting.result(5) == 0
    gate.open()


def test_a_sub_pool_counts_for_itself(make: Pools) -> None:
    pool = make(2)
    sub = pool.subpool(2)

    wait([sub.submit(int) for _ in range(100)] + [pool.submit(int) for _ in range(10)])
    ours, theirs = sub.stats(), pool.stats()

    assert (ours.submitted, ours.done, ours.run_time.count) == (100, 100, 100)
    assert (theirs.submitted, theirs.done) == (10, 10)
    assert adds_up(pool)


def test_a_waiting_call_can_be_cancelled(make: Pools) -> None:
    sub = make(1).subpool(1)
    gate = Gate(sub)
    future = sub.submit(int)

    assert future.cancel()
    gate.open()

    assert sub.submit(int).result(5) == 0
    assert sub.stats().cancelled == 1
    assert adds_up(sub)


# A pool of its own.


def test_a_full_queue_refuses_and_the_parents_does_not(make: Pools) -> None:
    pool = make(1)
    sub = pool.subpool(1, queue_size=2, when_full="reject")
    gate = Gate(sub)
    waiting = [sub.submit(int) for _ in range(2)]

    with pytest.raises(QueueFull, match="2 of 2 places"):
        sub.submit(int)
    other = pool.submit(int)
    gate.open()

    assert [future.result(5) for future in [*waiting, other]] == [0, 0, 0]
    assert sub.stats().refused == 1
    assert adds_up(sub)


def test_a_full_queue_blocks_until_there_is_a_place(make: Pools) -> None:
    sub = make(1).subpool(1, queue_size=1)
    gate = Gate(sub)
    first = sub.submit(int)

    aside = Aside(lambda: sub.submit(int).result(5))
    blocked = aside.is_blocked()
    gate.open()

    assert blocked
    assert aside.outcome() == 0
    assert first.result(5) == 0


def test_a_full_queue_drops_the_oldest(make: Pools) -> None:
    sub = make(1).subpool(1, queue_size=1, when_full="drop_oldest")
    gate = Gate(sub)
    old, new = sub.submit(int), sub.submit(int)
    gate.open()

    assert new.result(5) == 0
    with pytest.raises(TaskDropped):
        old.result(5)
    assert adds_up(sub)


def test_a_full_queue_has_the_caller_run_the_call(make: Pools) -> None:
    sub = make(1).subpool(1, queue_size=1, when_full="caller_runs")
    gate = Gate(sub)
    sub.submit(int)

    assert sub.submit(threading.current_thread).result(0) is threading.current_thread()
    gate.open()
    sub.shutdown()
    assert sub.stats().done == 3


def test_without_a_queue_a_call_is_taken_only_if_a_worker_is_free(make: Pools) -> None:
    pool = make(3)
    sub = pool.subpool(2, queue_size=0, when_full="reject")
    gates = [Gate(sub) for _ in range(2)]

    with pytest.raises(QueueFull):
        sub.submit(int)
    gates[0].open()
    gates[0].future.result(5)
    aside = sub.with_options(when_full="block").submit(int)
    gates[1].open()

    assert aside.result(5) == 0
    assert adds_up(sub)


def test_it_has_an_order_of_its_own(make: Pools) -> None:
    sub = make(1).subpool(1, order="lifo")
    gate = Gate(sub)
    ran: list[int] = []
    futures = [sub.submit(ran.append, n) for n in range(5)]
    gate.open()
    wait(futures)

    assert ran == [4, 3, 2, 1, 0]


def test_priorities_hold_among_its_own_calls(make: Pools) -> None:
    sub = make(1).subpool(1)
    gate = Gate(sub)
    ran: list[int] = []
    futures = [sub.with_options(priority=n).submit(ran.append, n) for n in range(5)]
    gate.open()
    wait(futures)

    assert ran == [4, 3, 2, 1, 0]


def test_all_must_end_in_its_total_timeout(make: Pools) -> None:
    sub = make(1).subpool(1, total_timeout=0.05)
    gate = Gate(sub)
    waiting = sub.submit(int)

    with pytest.raises(TaskTimeout):
        waiting.result(5)
    with pytest.raises(TaskTimeout):
        gate.future.result(5)
    gate.open()

    assert sub.stats().timed_out == 2
    assert adds_up(sub)


def test_a_stuck_call_is_written_off_and_both_pools_keep_their_size(make: Pools) -> None:
    pool = make(1)
    sub = pool.subpool(1)
    held = threading.Event()

    stuck = sub.with_options(timeout=0.03).submit(held.wait, 5)
    behind = [sub.submit(int) for _ in range(5)]

    with pytest.raises(TaskTimeout):
        stuck.result(5)
    assert [future.result(5) for future in behind] == [0] * 5
    assert pool.submit(int).result(5) == 0
    assert sub.stats().timed_out == 1
    held.set()
    assert sub.submit(int).result(5) == 0
    assert adds_up(sub)
    assert adds_up(pool)


def test_a_worker_that_was_written_off_pulls_nothing_more(make: Pools) -> None:
    pool = make(1)
    sub = pool.subpool(1)
    held, threads = threading.Event(), []

    def stick() -> None:
        threads.append(threading.current_thread())
        held.wait(5)

    with pytest.raises(TaskTimeout):
        sub.with_options(timeout=0.03).submit(stick).result(5)
    gate = Gate(sub)
    waiting = sub.submit(threading.current_thread)
    held.set()
    threads[0].join(5)
    waits_still = not waiting.done()
    gate.open()

    assert waits_still
    assert waiting.result(5) is not threads[0]


def test_listeners_of_a_sub_pool_hear_of_its_calls_and_those_of_the_parent_do_not(make: Pools) -> None:
    pool = make(1)
    sub = pool.subpool(1)
    heard: dict[str, list[str]] = {"pool": [], "sub": []}
    sub.listen(lambda event: heard["sub"].append(type(event).__name__))
    pool.listen(lambda event: heard["pool"].append(type(event).__name__))

    sub.submit(int).result(5)
    sub.shutdown()
    pool.shutdown()

    assert heard["sub"] == ["TaskStarted", "TaskEnded"]
    assert "TaskStarted" not in heard["pool"]


def test_callbacks_may_submit_to_it_and_wait(make: Pools) -> None:
    sub = make(1).subpool(1)
    gate = Gate(sub)
    called = threading.Event()
    results: list[int] = []

    def call_back(_: object) -> None:
        results.append(sub.submit(int).result(5))
        called.set()

    gate.future.add_done_callback(call_back)
    gate.open()

    assert called.wait(5)
    assert results == [0]


def test_map_options_groups_and_sub_pools_work_in_it(make: Pools) -> None:
    sub = make(2).subpool(2)

    assert list(sub.map(abs, range(-3, 0))) == [3, 2, 1]
    assert list(sub.with_options(timeout=5).map(abs, range(-3, 0))) == [3, 2, 1]
    with sub.group() as group:
        future = group.submit(int)
    assert future.result(0) == 0
    with sub.subpool(1) as inner:
        assert list(inner.map(abs, range(-3, 0))) == [3, 2, 1]


# Waiting for each other.


@pytest.mark.parametrize("depth", [10, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["result", "wait"])
def test_nested_waits_in_a_sub_pool_of_one_end(make: Pools, how: str, depth: int) -> None:
    sub = make(1).subpool(1)

    def dive(n: int) -> int:
        if n == 0:
            return 0
        future = sub.submit(dive, n - 1)
        if how == "wait":
            wait([future])
        return 1 + future.result()

    assert sub.submit(dive, depth).result(18) == depth
    assert adds_up(sub)


def test_two_sub_pools_that_wait_for_each_other_end(make: Pools) -> None:
    pool = make(1)
    two = [pool.subpool(1), pool.subpool(1)]

    def dive(n: int) -> int:
        return 0 if n == 0 else 1 + int(two[n % 2].submit(dive, n - 1).result())

    assert two[0].submit(dive, 60).result(15) == 60


def test_a_call_of_the_parent_that_waits_for_the_sub_pool_does_not_run_its_calls_itself(make: Pools) -> None:
    pool = make(2)
    sub = pool.subpool(1)
    gate = Gate(sub)
    waiting = sub.submit(int)

    outer = Aside(pool.submit(waiting.result).result)
    waited = outer.is_blocked()
    gate.open()

    assert waited
    assert outer.outcome() == 0


def test_a_call_of_the_parent_waits_for_one_of_the_sub_pool_on_one_worker(make: Pools) -> None:
    pool = make(1)
    sub = pool.subpool(1)

    assert pool.submit(lambda: sub.submit(int).result()).result(5) == 0


def test_a_worker_of_the_parent_that_finds_the_queue_full_waits_for_a_place(make: Pools) -> None:
    pool = make(2)
    sub = pool.subpool(1, queue_size=1)
    gate = Gate(sub)
    first = sub.submit(threading.current_thread)

    submitter = pool.submit(lambda: sub.submit(threading.current_thread).result())
    gate.open()

    assert {first.result(5), submitter.result(5)} <= set(threading.enumerate())
    assert sub.stats().done == 3


def test_a_call_cannot_wait_for_the_end_of_its_own_sub_pool(make: Pools) -> None:
    sub = make(1).subpool(1)

    with pytest.raises(RuntimeError, match="cannot wait for the end"):
        sub.submit(sub.shutdown).result(5)


# Ends.


def test_it_ends_by_itself_and_the_parent_goes_on(make: Pools) -> None:
    pool = make(2)
    sub = pool.subpool(1)
    futures = [sub.submit(int) for _ in range(50)]

    sub.shutdown()
    sub.shutdown()

    assert all(future.done() for future in futures)
    with pytest.raises(PoolClosed):
        sub.submit(int)
    assert pool.submit(int).result(5) == 0


def test_its_end_waits_for_what_runs(make: Pools) -> None:
    sub = make(1).subpool(1)
    gate = Gate(sub)

    aside = Aside(sub.shutdown)
    blocked = aside.is_blocked()
    gate.open()

    assert blocked
    assert aside.outcome() is None
    assert sub.drain(0)


def test_a_drain_says_whether_all_has_ended(make: Pools) -> None:
    sub = make(1).subpool(1)
    gate = Gate(sub)

    in_time = sub.drain(0.01)
    gate.open()

    assert not in_time
    assert sub.drain(5)


def test_an_error_in_its_body_cancels_what_waits(make: Pools) -> None:
    pool = make(1)

    sub = pool.subpool(1)

    def fail() -> None:
        with sub:
            futures.extend([Gate(sub), sub.submit(int)])
            raise ZeroDivisionError

    futures: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    gate, waiting = futures
    gate.open()

    assert waiting.cancelled()
    assert pool.submit(int).result(5) == 0


@pytest.mark.parametrize("held_by", ["pool", "sub"])
def test_the_parents_end_finishes_what_waits_and_refuses_more(make: Pools, held_by: str) -> None:
    pool = make(1)
    sub = pool.subpool(1)
    gate = Gate(sub if held_by == "sub" else pool)
    waiting = [sub.submit(int) for _ in range(50)]

    pool.shutdown(wait=False)
    with pytest.raises(PoolClosed):
        sub.submit(int)
    gate.open()
    pool.shutdown()

    assert [future.result(0) for future in waiting] == [0] * 50
    assert adds_up(sub)


@pytest.mark.parametrize("held_by", ["pool", "sub"])
def test_the_parents_end_can_cancel_what_waits(make: Pools, held_by: str) -> None:
    pool = make(1)
    sub = pool.subpool(1)
    inner = sub.subpool(1)
    gate = Gate(sub if held_by == "sub" else pool)
    waiting = [each.submit(int) for each in (sub, inner) for _ in range(10)]

    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    pool.shutdown()

    assert all(future.cancelled() for future in waiting)
    with pytest.raises(CancelledError):
        waiting[0].result(0)
    assert adds_up(sub)
    assert adds_up(inner)


def test_a_parent_that_breaks_fails_what_waits(make: Pools) -> None:
    broken = threading.Event()

    def fail() -> None:
        assert broken.wait(5)
        raise OSError

    pool = make(1, initializer=fail)
    sub = pool.subpool(1)
    waiting = sub.submit(int)
    broken.set()

    with pytest.raises(RuntimeError, match="initializer failed"):
        waiting.result(5)
    assert adds_up(sub)


def test_a_parent_that_nobody_holds_is_kept_by_what_waits_in_its_sub_pool() -> None:
    pool = ThreadPool(1)
    seen = weakref.ref(pool)
    sub = pool.subpool(1)
    gate = Gate(sub)
    waiting = sub.submit(int)
    del sub, pool

    gate.open()

    assert waiting.result(5) == 0
    del gate, waiting
    gc.collect()
    workers = [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
    for worker in workers:
        worker.join(5)
    assert seen() is None


# Races.


@pytest.mark.slow
def test_a_carrier_that_goes_home_and_a_call_that_comes_do_not_miss_each_other(make: Pools) -> None:
    sub = make(3).subpool(2)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        asides = [Aside(lambda: sum(sub.submit(int, 1).result(10) for _ in range(500))) for _ in range(3)]
        assert [aside.outcome() for aside in asides] == [500] * 3
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.slow
def test_its_end_misses_nothing_that_was_let_in(make: Pools) -> None:
    pool = make(2)

    for _ in range(100):
        sub = pool.subpool(2)

        def submit(sub: Any = sub) -> list[Any]:
            futures = []
            try:
                while True:
                    futures.append(sub.submit(int))
            except PoolClosed:
                return futures

        aside = Aside(submit)
        sub.shutdown()
        assert all(future.result(5) == 0 for future in aside.outcome())  # type: ignore[attr-defined]  # an Aside may bring anything
