from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, wait
from typing import Any

import pytest

from millhand import Future, PoolClosed, TaskTimeout, ThreadPool
from millhand.pool.order import OrderName
from tests.pool.gate import Gate

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


def order_of(calls: Sequence[tuple[str, Mapping[str, Any]]], **settings: Any) -> str:
    """Return in which order a worker runs calls that were submitted while it was busy."""
    ran: list[str] = []
    with ThreadPool(1, **settings) as pool:
        gate = Gate(pool)
        for name, options in calls:
            pool.with_options(**options).submit(ran.append, name)
        gate.open()
    return "".join(ran)


PLAIN = [(name, {}) for name in "abcd"]
RANKED = [("a", {}), ("b", {"priority": 1}), ("c", {}), ("d", {"priority": 2}), ("e", {"priority": 1}), ("f", {})]
KEYED = [("a", {"key": 1}), ("b", {"key": 1}), ("c", {"key": 1}), ("d", {"key": 2}), ("e", {}), ("f", {"key": 2})]


@pytest.mark.parametrize(
    ("order", "calls", "expected"),
    [
        ("fifo", PLAIN, "abcd"),
        ("lifo", PLAIN, "dcba"),
        ("fair", PLAIN, "abcd"),
        ("fifo", RANKED, "dbeacf"),
        ("lifo", RANKED, "debfca"),
        ("fair", RANKED, "dbeacf"),
        ("fifo", KEYED, "abcdef"),
        ("lifo", KEYED, "fedcba"),
        ("fair", KEYED, "adebfc"),
    ],
)
def test_each_order_runs_calls_as_it_says(order: OrderName, calls: Any, expected: str) -> None:
    assert order_of(calls, order=order) == expected


def test_with_ageing_a_small_difference_of_priority_is_made_up_for_by_waiting() -> None:
    def run(ageing: float | None) -> list[str]:
        ran: list[str] = []
        with ThreadPool(1, ageing=ageing) as pool:
            gate = Gate(pool)
            pool.with_options(priority=0).submit(ran.append, "patient")
            time.sleep(0.01)  # what counts is time
            pool.with_options(priority=1).submit(ran.append, "urgent")
            gate.open()
        return ran

    assert run(0.001) == ["patient", "urgent"]
    assert run(60) == ["urgent", "patient"]
    assert run(None) == ["urgent", "patient"]


@pytest.mark.parametrize("order", ["fifo", "fair"])
def test_a_saturating_stream_of_higher_priorities_starves_nobody_beyond_the_bound(order: OrderName) -> None:
    """Later work overtakes if it comes within (difference of priorities) x ageing, and not after that."""
    ageing, high, low = 0.01, 4, -1
    overtook: list[float] = []
    over = threading.Event()
    with ThreadPool(1, ageing=ageing, order=order) as pool:
        stream = pool.with_options(priority=high)

        def go_on(submitted_at: float) -> None:
            overtook.append(submitted_at)
            if not over.is_set():
                stream.submit(go_on, time.monotonic())

        gate = Gate(pool)
        begin = time.monotonic()
        starved: Any = pool.with_options(priority=low).submit(over.set)
        for _ in range(3):
            stream.submit(go_on, time.monotonic())
        gate.open()

        starved.result(5)
        late = [at for at in overtook if at > starved.submitted_at + (high - low) * ageing]

    assert late[3:] == []  # three are under way at any time, and may be taken just when it is its turn
    assert len(overtook) > 20
    assert time.monotonic() - begin < 5


def test_a_priority_can_be_changed_while_a_call_waits() -> None:
    ran: list[str] = []
    with ThreadPool(1) as pool:
        gate = Gate(pool)
        futures: dict[str, Any] = {name: pool.submit(ran.append, name) for name in "abcd"}

        assert futures["c"].set_priority(2)
        assert futures["a"].set_priority(-1)
        assert futures["c"].set_priority(1)
        assert futures["d"].set_priority(1)
        gate.open()

    assert ran == ["c", "d", "b", "a"]


def test_a_priority_of_a_call_that_runs_has_ended_or_is_cancelled_cannot_be_changed() -> None:
    with ThreadPool(1) as pool:
        running: Any = (gate := Gate(pool)).future
        cancelled: Any = pool.submit(int)
        cancelled.cancel()
        waiting: Any = pool.submit(int)

        changed = running.set_priority(1), cancelled.set_priority(1), waiting.set_priority(1)
        gate.open()
        waiting.result()

        assert changed == (False, False, True)
        assert not waiting.set_priority(1)
        with pytest.raises(ValueError, match="priority must be a whole number"):
            waiting.set_priority(1.5)


def test_keys_take_turns_however_much_one_of_them_submits() -> None:
    ran: list[str] = []
    with ThreadPool(1, order="fair") as pool:
        gate = Gate(pool)
        for n in range(100):
            pool.with_options(key="noisy").submit(ran.append, "noisy")
            if n % 25 == 0:
                pool.with_options(key=n).submit(ran.append, "quiet")
        gate.open()

    assert ran[:5].count("quiet") == 4
    assert len(ran) == 104


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

    # On a busy machine, the fourth may not have begun when the third is one too many.
    timed_out = sum(isinstance(future.exception(), TaskTimeout) for future in stuck)
    given_up = sum("given up" in str(future.exception()) for future in (*stuck, *waiting))
    assert timed_out in (3, 4)
    assert (timed_out + given_up, len(late)) == (7, 3)
    assert (stats.timed_out, stats.failed, stats.refused, stats.waiting, stats.running) == (
        timed_out,
        given_up,
        1,
        0,
        0,
    )


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
