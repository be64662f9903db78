from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from typing import Any

import pytest

from millhand import PoolClosed, QueueFull, ThreadPool
from millhand.pool.stats import PoolStats
from tests.pool.gate import Aside, Gate, lost


def settle(pool: ThreadPool, workers: int) -> int:
    """Return how many workers the pool has, once it has as many as it should, or has had the time to."""
    deadline = time.monotonic() + 2
    while pool.stats().workers != workers and time.monotonic() < deadline:
        gc.collect(0)
    return pool.stats().workers


def open_all(gates: list[Gate]) -> None:
    for gate in gates:
        gate.open()


class Meter:
    """Counts how many of its calls run at once, and the most there ever were."""

    def __init__(self) -> None:
        self._lock, self._now, self.most = threading.Lock(), 0, 0

    def __call__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.0005)
        with self._lock:
            self._now -= 1


# Resize.


@pytest.mark.parametrize("size", [0, -1])
def test_there_must_be_a_worker(size: int) -> None:
    with (
        ThreadPool(1) as pool,
        pytest.raises(ValueError, match=r"max_workers must be greater than 0, and a whole number"),
    ):
        pool.resize(size)


def test_growth_starts_what_waits_at_once() -> None:
    with ThreadPool(1) as pool:
        first = Gate(pool)
        waiting = [pool.submit(threading.Event().wait, 0) for _ in range(2)]

        pool.resize(3)
        wait(waiting, 5)

        assert all(future.done() for future in waiting)
        assert not first.future.done()
        first.open()


def test_growth_hires_nobody_for_whom_nothing_waits() -> None:
    with ThreadPool(1) as pool:
        pool.submit(int).result()
        pool.resize(20)

        assert pool.stats().workers == 1
        assert pool.idle == 20


def test_shrinking_interrupts_nobody_and_starts_nothing_before_enough_have_ended() -> None:
    with ThreadPool(3) as pool:
        gates = [Gate(pool) for _ in range(3)]
        waiting = pool.submit(int)

        pool.resize(1)
        running = pool.stats().running
        open_all(gates[:2])
        wait([gate.future for gate in gates[:2]])

        assert running == 3
        assert settle(pool, 1) == 1
        assert not waiting.done()
        gates[2].open()
        assert waiting.result(5) == 0


def test_shrinking_lets_idle_workers_go() -> None:
    with ThreadPool(5) as pool:
        gates = [Gate(pool) for _ in range(5)]
        threads = list(pool._threads)  # noqa: SLF001 - programs look at it, so it is part of what is promised
        open_all(gates)
        wait([gate.future for gate in gates])

        pool.resize(2)

        assert settle(pool, 2) == 2
        assert pool.submit(int).result() == 0
        deadline = time.monotonic() + 2
        while sum(thread.is_alive() for thread in threads) > 2 and time.monotonic() < deadline:
            gc.collect(0)
        assert sum(thread.is_alive() for thread in threads) == 2


def test_shrinking_lets_idle_workers_go_though_the_first_priority_comes_just_then() -> None:
    """Found by reading: the switch to order made one wake-up of many, and the other workers stayed and took calls."""
    with ThreadPool(4) as pool:
        gates = [Gate(pool) for _ in range(4)]
        pool.resize(1)  # three wake-ups stand in the queue
        plain = pool.submit(int)
        urgent = pool.with_options(priority=1).submit(int)

        open_all(gates)

        assert settle(pool, 1) == 1
        wait([plain, urgent], 5)
        assert pool.stats().done == 6


def test_no_more_run_at_once_than_the_size_says_however_often_it_changes() -> None:
    meter = Meter()
    with ThreadPool(2) as pool:
        for size in (4, 1, 3, 2) * 5:
            pool.resize(size)
            wait([pool.submit(meter) for _ in range(2 * size)], 5)
        assert meter.most <= 4
        meter.most = 0
        assert settle(pool, 2) == 2
        wait([pool.submit(meter) for _ in range(40)], 5)

        assert meter.most == 2
    assert (pool.stats().done, lost(pool.stats())) == (140, 0)


@pytest.mark.parametrize("cancel", [False, True])
def test_shrinking_more_than_once_before_the_end_forgets_nothing(cancel: bool) -> None:
    """Found by the state machine: the wake-ups of each shrink stood before the calls, and workers left at them."""
    pool = ThreadPool(2)
    gates = [Gate(pool) for _ in range(2)]
    for _ in range(3):
        pool.resize(1)
    future = pool.submit(int)

    pool.shutdown(wait=False, cancel_futures=cancel)
    open_all(gates)
    Aside(pool.shutdown).outcome()

    assert future.done()
    assert future.cancelled() == cancel


def test_resizing_a_closed_pool_hires_nobody() -> None:
    pool = ThreadPool(1)
    gate = Gate(pool)
    waiting = pool.submit(int)
    pool.shutdown(wait=False)

    pool.resize(4)
    workers = pool.stats().workers
    gate.open()
    pool.shutdown()

    assert workers == 1
    assert waiting.result() == 0


def test_a_worker_that_is_about_to_leave_holds_no_places() -> None:
    """Found by reading: what it had taken was not counted until it had left, and then no bell rang."""
    with ThreadPool(2, queue_size=2) as pool:
        one, two = Gate(pool), Gate(pool)
        crew = pool._crew  # noqa: SLF001 - the moment between two steps of leaving is a private matter
        leave, leaving, left = crew.leave, threading.Event(), threading.Event()

        def leave_late(worker: Any) -> None:
            leaving.set()
            left.wait(5)
            leave(worker)

        crew.leave = leave_late  # type: ignore[method-assign]  # as above
        pool.resize(1)
        one.open()
        assert leaving.wait(5)

        submits = [Aside(lambda: pool.submit(int)) for _ in range(2)]
        futures = [submit.outcome() for submit in submits]
        left.set()
        two.open()

        assert [future.result(5) for future in futures if isinstance(future, Future)] == [0, 0]


# Pause and resume.


def test_a_paused_pool_starts_nothing_and_lets_go_on_what_runs() -> None:
    calls: list[int] = []
    with ThreadPool(2) as pool:
        gate = Gate(pool)
        pool.pause()
        futures = [pool.submit(calls.append, n) for n in range(5)]
        gate.open()
        gate.future.result(5)

        with pytest.raises(TimeoutError):
            futures[0].result(0.03)

        assert calls == []
        assert (pool.stats().waiting, pool.stats().running, pool.stats().done) == (5, 0, 1)
        pool.resume()
        wait(futures, 5)
        assert sorted(calls) == [0, 1, 2, 3, 4]


def test_a_pause_catches_idle_workers_too() -> None:
    with ThreadPool(3) as pool:
        open_all(gates := [Gate(pool) for _ in range(3)])
        wait([gate.future for gate in gates])
        pool.pause()

        futures = [pool.submit(int) for _ in range(3)]

        assert not wait(futures, 0.03).done
        pool.resume()
        assert not wait(futures, 5).not_done


def test_pausing_and_resuming_twice_is_doing_it_once() -> None:
    with ThreadPool(1) as pool:
        pool.resume()
        pool.pause()
        pool.pause()
        future = pool.submit(int)
        pool.resume()
        pool.resume()

        assert future.result(5) == 0


def test_what_waits_during_a_pause_is_bounded_like_always() -> None:
    with ThreadPool(2, queue_size=2, when_full="reject") as pool:
        pool.pause()
        futures = [pool.submit(int) for _ in range(2)]

        for _ in range(3):
            with pytest.raises(QueueFull):
                pool.submit(int)

        pool.resume()
        wait(futures, 5)
        assert pool.submit(int).result(5) == 0


def test_what_waits_during_a_pause_can_be_cancelled_and_reordered() -> None:
    ran: list[str] = []
    with ThreadPool(1) as pool:
        pool.submit(int).result()
        pool.pause()
        futures = {name: pool.with_options(priority=1).submit(ran.append, name) for name in "abcd"}

        assert futures["b"].cancel()
        assert futures["d"].set_priority(9)  # type: ignore[attr-defined]  # a Task is a Future to its submitter
        assert futures["a"].set_priority(0)  # type: ignore[attr-defined]  # as above
        pool.resume()

    assert ran == ["d", "c", "a"]


def test_a_drop_during_a_pause_finds_what_idle_workers_would_have_taken() -> None:
    """Found by reading: a worker held the only call in its hands, and the submit waited for the end of the pause."""
    with ThreadPool(1, queue_size=1, when_full="drop_oldest") as pool:
        pool.submit(int).result()
        pool.pause()

        first = pool.submit(int)
        second = Aside(lambda: pool.submit(int, "2")).outcome()
        pool.resume()

        assert isinstance(second, Future)
        assert second.result(5) == 2
        assert first.exception(5) is not None


@pytest.mark.parametrize("cancel", [False, True])
def test_a_paused_pool_can_be_shut_down(cancel: bool) -> None:
    calls: list[int] = []
    pool = ThreadPool(2)
    wait([pool.submit(int) for _ in range(4)])
    pool.pause()
    futures = [pool.submit(calls.append, n) for n in range(5)]

    Aside(lambda: pool.shutdown(cancel_futures=cancel)).outcome()

    assert all(future.done() for future in futures)
    assert all(future.cancelled() == cancel for future in futures)
    assert sorted(calls) == ([] if cancel else [0, 1, 2, 3, 4])
    assert (pool.stats().workers, lost(pool.stats())) == (0, 0)


def test_a_paused_pool_that_is_collected_runs_what_was_submitted() -> None:
    """Found by reading: nobody was left to resume it, and its threads waited for ever."""
    pool = ThreadPool(2)
    pool.submit(int).result()
    pool.pause()
    futures = [pool.submit(int, str(n)) for n in range(3)]

    del pool
    gc.collect()

    assert [future.result(5) for future in futures] == [0, 1, 2]


def test_resizing_during_a_pause_takes_effect_afterwards() -> None:
    with ThreadPool(1) as pool:
        pool.pause()
        barrier = threading.Barrier(3)
        futures = [pool.submit(barrier.wait, 5) for _ in range(3)]

        pool.resize(3)
        pool.resume()

        assert sorted(future.result(5) for future in futures) == [0, 1, 2]


def test_shrinking_during_a_pause_holds_when_it_is_over() -> None:
    """Found by the state machine: each worker had a call in its hands, and started it, however many were wanted."""
    with ThreadPool(3) as pool:
        open_all(gates := [Gate(pool) for _ in range(3)])
        wait([gate.future for gate in gates])
        pool.pause()
        meter = Meter()
        futures = [pool.submit(meter) for _ in range(6)]
        assert not wait(futures, 0.03).done

        pool.resize(1)
        pool.resume()
        wait(futures, 5)

        assert meter.most == 1
        assert settle(pool, 1) == 1


# Drain and shutdown.


def test_draining_finishes_everything_and_takes_no_more() -> None:
    with ThreadPool(2) as pool:
        futures = [pool.submit(int, str(n)) for n in range(50)]

        assert pool.drain()

        assert [future.result() for future in futures] == list(range(50))
        with pytest.raises(PoolClosed):
            pool.submit(int)
        assert pool.stats().workers == 0


def test_draining_gives_up_after_its_timeout_and_can_be_asked_again() -> None:
    with ThreadPool(1) as pool:
        gate = Gate(pool)
        waiting = pool.submit(int)

        assert not pool.drain(timeout=0.01)
        assert not waiting.done()
        gate.open()

        assert pool.drain(timeout=5)
        assert waiting.result() == 0


def test_a_paused_pool_can_be_drained() -> None:
    with ThreadPool(1) as pool:
        pool.pause()
        future = pool.submit(int)

        assert pool.drain(timeout=5)
        assert future.result() == 0


def test_an_unused_pool_is_drained_at_once() -> None:
    with ThreadPool(1) as pool:
        assert pool.drain(timeout=5)


def test_a_shutdown_that_cancels_may_follow_one_that_does_not() -> None:
    pool = ThreadPool(1)
    gate = Gate(pool)
    futures = [pool.submit(int) for _ in range(3)]
    pool.shutdown(wait=False)

    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    pool.shutdown()

    for future in futures:
        with pytest.raises(CancelledError):
            future.result(5)


def test_the_counts_survive_the_workers_that_made_them() -> None:
    with ThreadPool(4) as pool:
        wait([pool.submit(divmod, 1, n % 2) for n in range(100)])
        pool.resize(1)
        wait([pool.submit(divmod, 1, n % 2) for n in range(100)])
    stats: PoolStats = pool.stats()

    assert (stats.done, stats.failed, stats.submitted, lost(stats)) == (100, 100, 200, 0)
