from __future__ import annotations

import gc
import threading
from concurrent.futures import Executor, wait
from typing import Any

import pytest

from millhand import Future, PoolClosed, TaskTimeout, ThreadPool

SOON = 0.01


@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan"), "5", [5]])
def test_a_timeout_must_be_above_zero(timeout: Any) -> None:
    with ThreadPool(1) as pool, pytest.raises(ValueError, match="timeout must be"):
        pool.with_options(timeout=timeout)


@pytest.mark.parametrize("priority", [1.5, "high", None, True])
def test_a_priority_must_be_a_whole_number(priority: Any) -> None:
    with ThreadPool(1) as pool, pytest.raises(ValueError, match="priority must be"):
        pool.with_options(priority=priority)


def test_a_view_is_an_executor_on_the_same_pool() -> None:
    with ThreadPool(1) as pool:
        view = pool.with_options(priority=1)

        assert isinstance(view, Executor)
        assert view.submit(pow, 2, 3).result() == 8
        assert list(view.map(abs, [-1, -2])) == [1, 2]
        assert pool.stats().done == 3


def test_shutting_a_view_down_shuts_the_pool_down() -> None:
    pool = ThreadPool(1)

    with pool.with_options() as view:
        view.submit(int)

    with pytest.raises(PoolClosed):
        pool.submit(int)


def test_a_view_keeps_its_pool_alive() -> None:
    view = ThreadPool(1).with_options()
    gc.collect()

    assert view.submit(int).result() == 0
    view.shutdown()


def test_higher_priorities_run_sooner() -> None:
    gate, entered = threading.Event(), threading.Event()
    order: list[str] = []
    with ThreadPool(1) as pool:
        pool.submit(lambda: (entered.set(), gate.wait()))
        assert entered.wait(5)
        for name, priority in [("first", 0), ("second", 0), ("lazy", -1), ("urgent", 2), ("hasty", 1), ("third", 0)]:
            pool.with_options(priority=priority).submit(order.append, name)
        gate.set()

    assert order == ["urgent", "hasty", "first", "second", "third", "lazy"]


def test_a_call_that_ends_in_time_is_not_disturbed() -> None:
    with ThreadPool(2) as pool:
        futures = [pool.with_options(timeout=60).submit(pow, n, 2) for n in range(100)]

        assert [future.result() for future in futures] == [n * n for n in range(100)]
        assert pool.stats().timed_out == 0


def test_a_call_that_runs_too_long_fails_while_it_still_runs() -> None:
    gate = threading.Event()
    with ThreadPool(1) as pool:
        future = pool.with_options(timeout=SOON).submit(gate.wait)

        with pytest.raises(TaskTimeout) as caught:
            future.result()
        gate.set()

    assert (caught.value.name, caught.value.timeout) == ("Event.wait", SOON)
    assert future.exception() is caught.value


def test_the_stuck_thread_is_replaced_and_leaves_when_its_call_returns() -> None:
    gate = threading.Event()
    threads: list[threading.Thread] = []
    with ThreadPool(1) as pool:
        future = pool.with_options(timeout=SOON).submit(
            lambda: (threads.append(threading.current_thread()), gate.wait())
        )
        assert isinstance(future.exception(), TaskTimeout)

        during = pool.stats()
        elsewhere = pool.submit(threading.current_thread).result()
        gate.set()
        threads[0].join()
        after = pool.stats()

    assert (during.workers, during.written_off, during.timed_out, during.running) == (1, 1, 1, 0)
    assert elsewhere is not threads[0]
    assert (after.workers, after.written_off, after.timed_out, after.done) == (1, 0, 1, 1)


def test_the_result_of_a_call_that_timed_out_is_dropped() -> None:
    gate = threading.Event()
    with ThreadPool(1) as pool:
        future = pool.with_options(timeout=SOON).submit(lambda: gate.wait() and 42)
        assert isinstance(future.exception(), TaskTimeout)
        gate.set()

    assert isinstance(future.exception(), TaskTimeout)


def test_the_timeout_is_of_the_run_and_not_of_the_wait() -> None:
    gate = threading.Event()
    with ThreadPool(1) as pool:
        pool.submit(gate.wait)
        future = pool.with_options(timeout=SOON).submit(int)
        threading.Timer(2 * SOON, gate.set).start()

        assert future.result() == 0


def test_a_shutdown_does_not_wait_for_stuck_threads() -> None:
    gate = threading.Event()
    pool = ThreadPool(1)
    future = pool.with_options(timeout=SOON).submit(gate.wait)
    assert isinstance(future.exception(), TaskTimeout)

    pool.shutdown()

    assert pool.stats().written_off == 1
    gate.set()


def test_a_call_that_times_out_during_the_shutdown_does_not_hold_it_up() -> None:
    gate = threading.Event()
    pool = ThreadPool(1)
    future = pool.with_options(timeout=SOON).submit(gate.wait)
    behind = pool.submit(int)

    pool.shutdown()

    assert isinstance(future.exception(), TaskTimeout)
    assert behind.result() == 0
    gate.set()


def test_a_pool_with_too_many_stuck_threads_gives_up_and_says_why() -> None:
    gate = threading.Event()
    pool = ThreadPool(2)
    view = pool.with_options(timeout=SOON)
    stuck = [view.submit(gate.wait) for _ in range(4)]
    waiting = [pool.with_options(priority=-100).submit(int) for _ in range(3)]
    late: list[object] = []
    for future in waiting:
        future.add_done_callback(late.append)

    wait([*stuck, *waiting])
    with pytest.raises(PoolClosed, match="given up: 3 of its threads"):
        pool.submit(int)

    gate.set()
    pool.shutdown()
    stats = pool.stats()

    assert sum(isinstance(future.exception(), TaskTimeout) for future in stuck) == 4
    assert all("given up" in str(future.exception()) for future in waiting)
    assert len(late) == 3
    assert (stats.timed_out, stats.failed, stats.refused, stats.waiting, stats.running) == (4, 3, 1, 0, 0)


def test_callbacks_of_a_timeout_run_on_the_new_worker_and_may_submit_to_a_full_pool() -> None:
    """Run by the timer's thread, a callback that submits again would block all other timeouts of a full pool."""
    gate = threading.Event()
    again: list[Future[int]] = []
    called = threading.Event()
    with ThreadPool(1, queue_size=1) as pool:
        future = pool.with_options(timeout=SOON).submit(gate.wait)
        blocked = pool.submit(int)

        def submit_again(_: object) -> None:
            again.extend([pool.submit(int, "7"), pool.submit(int, "8")])
            called.set()

        future.add_done_callback(submit_again)
        assert called.wait(5)
        gate.set()

    assert [f.result() for f in (blocked, *again)] == [0, 7, 8]


def test_a_call_run_by_its_submitter_times_out_and_so_does_the_one_around_it() -> None:
    gate = threading.Event()
    inner: list[Future[Any]] = []
    entered = threading.Event()
    with ThreadPool(1, queue_size=1) as pool:
        view = pool.with_options(timeout=SOON)

        def outer() -> None:
            entered.set()
            view.submit(int)  # takes the only place
            inner.append(view.submit(gate.wait))

        future = pool.with_options(timeout=4 * SOON).submit(outer)
        assert isinstance(future.exception(), TaskTimeout)
        during = pool.stats()
        gate.set()

    assert during.written_off == 1
    assert pool.stats().timed_out == 2


def test_partials_are_named_after_their_function() -> None:
    from functools import partial

    gate = threading.Event()
    with ThreadPool(1) as pool:
        future = pool.with_options(timeout=SOON).submit(partial(partial(gate.wait), None))
        error = future.exception()
        gate.set()

    assert isinstance(error, TaskTimeout)
    assert error.name == "Event.wait"
