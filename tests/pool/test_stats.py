from __future__ import annotations

import threading
from collections import Counter as Count
from concurrent.futures import wait

import pytest

from millhand import PoolClosed, PoolStats, ThreadPool
from millhand.pool.stats import Books, Counter, Tally


def parts(stats: PoolStats) -> int:
    return stats.waiting + stats.running + stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.refused


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


def test_an_unused_pool_has_counted_nothing() -> None:
    with ThreadPool(3) as pool:
        assert pool.stats() == PoolStats(0, 0, 0, 0, 0, 0, 0, 0, workers=0, written_off=0)


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

    assert all(stats.submitted == parts(stats) for stats in looks)
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
