from __future__ import annotations

import threading
import time
from collections import Counter as Count
from concurrent.futures import wait
from typing import Any, cast

import pytest

from millhand import PoolClosed, PoolStats, ThreadPool
from millhand.pool.stats import Books, Counter, Histogram, Tally
from tests.pool.gate import Aside, Gate, lost


def test_a_counter_counts_what_threads_do_at_once() -> None:
    counter = Counter()
    threads = [threading.Thread(target=lambda: [counter.add() for _ in range(5_000)]) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counter.read() == 20_000


def test_a_tally_absorbs_another() -> None:
    one, other = Tally(), Tally()
    other.taken, other.started, other.done, other.failed = 4, 3, 2, 1

    one.absorb(other)
    one.absorb(other)

    assert (one.taken, one.started, one.done, one.failed) == (8, 6, 4, 2)


def test_a_task_that_moves_on_during_the_look_is_counted_once() -> None:
    """Submissions are read last: what ends in the middle of the look was read as running, never twice."""
    books, tally = Books(), Tally()

    def admitted() -> int:
        tally.started += 1
        tally.done += 1
        books.cancels.add()
        books.refused.add()
        return 1

    stats = books.look([tally], admitted, workers=1, written_off=0)

    assert (stats.submitted, stats.waiting, stats.running, stats.done) == (1, 1, 0, 0)


def test_a_task_that_is_cancelled_at_the_door_is_counted_though_it_is_not_in_yet() -> None:
    """A group is cancelled while one of its submits is blocked: without care, -1 would be waiting."""
    books = Books()
    books.cancels.add()

    stats = books.look([], lambda: 0, workers=1, written_off=0)

    assert (stats.submitted, stats.cancelled, stats.waiting) == (1, 1, 0)


def test_an_unused_pool_has_counted_nothing() -> None:
    with ThreadPool(3) as pool:
        stats = pool.stats()

    assert (stats.submitted, stats.waiting, stats.running, stats.done, stats.workers, stats.written_off) == (0,) * 6
    assert (stats.wait_time.count, stats.run_time.quantile(0.99), stats.slowest, stats.table) == (0, 0.0, (), ())
    assert stats.utilisation == 0


def test_waiting_and_running_are_told_apart() -> None:
    gate, entered = threading.Event(), threading.Event()
    with ThreadPool(1) as pool:
        pool.submit(lambda: (entered.set(), gate.wait()))
        assert entered.wait(5)
        pool.submit(int)
        pool.submit(int)

        stats = pool.stats()
        gate.set()

    assert (stats.submitted, stats.running, stats.waiting, stats.workers) == (3, 1, 2, 1)


def test_a_cancel_counts_at_once_though_the_place_is_still_taken() -> None:
    gate, entered = threading.Event(), threading.Event()
    with ThreadPool(1) as pool:
        pool.submit(lambda: (entered.set(), gate.wait()))
        assert entered.wait(5)

        pool.submit(int).cancel()
        stats = pool.stats()
        gate.set()

    assert (stats.cancelled, stats.waiting) == (1, 0)


def test_an_end_is_counted_before_it_can_be_seen() -> None:
    with ThreadPool(2) as pool:
        for n in range(1, 200):
            pool.submit(int).result()
            assert pool.stats().done == n


def test_at_rest_the_counts_are_those_of_an_independent_count() -> None:
    seen: Count[str] = Count()
    gate, entered = threading.Event(), threading.Event()
    with ThreadPool(1) as pool:
        pool.submit(lambda: (entered.set(), gate.wait()))
        assert entered.wait(5)
        futures = [pool.submit(divmod, 1, n % 3) for n in range(300)]
        for future in futures[::7]:
            future.cancel()
        gate.set()
        wait(futures)
    for future in futures:
        seen["cancelled" if future.cancelled() else "failed" if future.exception() else "done"] += 1
    for _ in range(3):
        with pytest.raises(PoolClosed):
            pool.submit(int)

    stats = pool.stats()

    assert (stats.done, stats.failed, stats.cancelled) == (seen["done"] + 1, seen["failed"], seen["cancelled"])
    assert (stats.submitted, stats.refused, stats.waiting, stats.running) == (304, 3, 0, 0)


def test_the_counts_add_up_in_every_look_while_the_pool_works() -> None:
    looks: list[PoolStats] = []
    stop = threading.Event()
    with ThreadPool(4) as pool:

        def look() -> None:
            while not stop.is_set():
                looks.append(pool.stats())

        thread = threading.Thread(target=look)
        thread.start()
        wait([pool.submit(divmod, 1, n % 2) for n in range(3_000)])
        stop.set()
        thread.join()

    assert all(lost(stats) == 0 for stats in looks)
    assert all(min(stats.waiting, stats.running) >= 0 for stats in looks)
    assert [stats.submitted for stats in looks] == sorted(stats.submitted for stats in looks)


def test_idle_is_how_many_workers_could_take_a_call() -> None:
    gate = threading.Event()
    with ThreadPool(3) as pool:
        before = pool.idle
        futures = [pool.submit(gate.wait) for _ in range(2)]
        during = pool.idle
        futures += [pool.submit(gate.wait) for _ in range(5)]
        full = pool.idle
        gate.set()
        wait(futures)
        after = pool.idle

    assert (before, during, full, after) == (3, 1, 0, 3)


# Durations.


def test_a_histogram_counts_powers_of_two() -> None:
    histogram = Histogram({0.25: 1, 0.5: 2, 4.0: 1})

    assert histogram.count == 4
    assert [histogram.quantile(q) for q in (0, 0.25, 0.5, 0.75, 1)] == [0.25, 0.25, 0.5, 0.5, 4.0]


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_is_between_0_and_1(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Histogram().quantile(q)


def test_waits_and_runs_are_told_apart() -> None:
    with ThreadPool(1) as pool:
        gate = Gate(pool)
        behind = pool.submit(int)
        time.sleep(0.02)  # what is measured is time
        gate.open()
        behind.result()
        stats = pool.stats()

    assert (stats.wait_time.count, stats.run_time.count, stats.total_time.count) == (2, 2, 2)
    assert stats.wait_time.quantile(1) >= 0.02
    assert stats.run_time.quantile(1) >= 0.02
    assert stats.wait_time.quantile(0.5) < 0.02
    assert stats.run_time.quantile(0.5) < 0.02
    assert stats.total_time.quantile(0.5) >= 0.02


def test_each_of_few_calls_is_measured_and_many_quick_ones_by_samples() -> None:
    with ThreadPool(1) as pool:
        wait([pool.submit(int) for _ in range(1_000)])
        exact = pool.stats()
        wait([pool.submit(int) for _ in range(16_000)])
        sampled = pool.stats()

    assert (exact.run_time.count, exact.wait_time.count, exact.total_time.count) == (1_000,) * 3
    assert sampled.run_time.count == pytest.approx(17_000, rel=0.02)
    assert (sampled.done, sampled.submitted) == (17_000, 17_000)


def test_a_long_call_is_measured_however_many_quick_ones_there_were() -> None:
    with ThreadPool(1) as pool:
        wait([pool.submit(int) for _ in range(1_500)])
        for _ in range(3):
            pool.submit(time.sleep, 0.02).result()
        stats = pool.stats()

    assert sum(n for limit, n in stats.run_time.counts.items() if limit > 0.01) >= 3
    assert [slow.name for slow in stats.slowest].count("sleep") == 3


def test_the_slowest_calls_are_named_longest_first() -> None:
    def slow() -> None:
        time.sleep(0.01)

    def slower() -> None:
        time.sleep(0.02)

    with ThreadPool(2) as pool:
        wait([pool.submit(fn) for fn in (slow, slower, *[int] * 20)])
        slowest = pool.stats().slowest

    assert len(slowest) == 5
    assert [each.name.rpartition(".")[2] for each in slowest[:2]] == ["slower", "slow"]
    assert [each.run for each in slowest] == sorted((each.run for each in slowest), reverse=True)


def test_what_a_call_took_is_still_known_when_its_worker_has_left() -> None:
    pool = ThreadPool(2)
    wait([pool.submit(time.sleep, 0.001) for _ in range(10)])

    pool.shutdown()

    stats = pool.stats()
    assert (stats.run_time.count, stats.workers, stats.table) == (10, 0, ())
    assert len(stats.slowest) == 5


# Workers.


def test_the_table_shows_each_worker_by_name_with_what_it_does() -> None:
    with ThreadPool(2, "mill") as pool:
        one, two = Gate(pool), Gate(pool)
        two.open()
        two.future.result()
        while pool.stats().table[1].task:
            pass  # it looks for its next task in a moment

        table, utilisation = pool.stats().table, pool.stats().utilisation
        one.open()

    assert [(each.name, each.state, each.task, each.started) for each in table] == [
        ("mill_0", "running", "Gate._wait", 1),
        ("mill_1", "idle", "", 1),
    ]
    assert utilisation == 0.5


@pytest.mark.parametrize("order", ["fifo", "lifo", "fair"])
def test_the_counts_add_up_in_every_look_while_threads_do_everything_at_once(order: Any) -> None:
    looks: list[PoolStats] = []
    stop = threading.Event()
    with ThreadPool(3, queue_size=20, when_full="drop_oldest", order=order) as pool:

        def hammer(seed: int) -> list[Any]:
            views = [pool, pool.with_options(priority=seed), pool.with_options(total_timeout=0.002, key=seed)]
            futures = [views[n % 3].submit(divmod, n, n % 4) for n in range(400)]
            for n, future in enumerate(futures):
                if n % 5 == 0:
                    future.cancel()
            return futures

        def look() -> None:
            while not stop.is_set():
                looks.append(pool.stats())

        looker = Aside(look)
        hammers = [Aside(lambda seed=seed: hammer(seed)) for seed in range(3)]  # type: ignore[misc]  # a default
        futures: list[Any] = [future for each in hammers for future in cast("list[Any]", each.outcome())]
        wait(futures, 10)
        stop.set()
        looker.outcome()
    end = pool.stats()

    assert all(lost(stats) == 0 and min(stats.waiting, stats.running) >= 0 for stats in looks)
    assert all(stats.waiting <= 20 + 3 for stats in looks)
    assert (end.submitted, lost(end), end.waiting, end.running) == (1_200, 0, 0, 0)
    assert all(future.done() for future in futures)
    assert end.cancelled == sum(future.cancelled() for future in futures)
