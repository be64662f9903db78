"""Every option beside everything that can happen to a call, in every order: whatever meets, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, wait
from itertools import repeat
from pathlib import Path
from typing import Any, get_args

import pytest

from millhand import ProcessPool, TaskTimeout, ThreadPool
from millhand.policy import Backoff, Breaker, Bulkhead, RateLimit, Retry
from millhand.pool.current import check_cancelled
from millhand.pool.options import WhenFull
from millhand.pool.order import OrderName
from millhand.pool.pool import PoolView
from tests.pool.gate import Gate, lost
from tests.process import house

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "priority": {"priority": 3},
    "key": {"key": "somebody"},
    "timeout": {"timeout": 60},
    "total_timeout": {"total_timeout": 60},
    "interrupt": {"interrupt": True},
    "retry": {"retry": Retry(2, Backoff(base=0))},
    "rate": {"rate": RateLimit(1_000, burst=2)},
    "breaker": {"breaker": Breaker(consecutive=1, open_for=0.001), "retry": Retry(3, Backoff(base=0))},
    "bulkhead": {"bulkhead": Bulkhead(1)},
    "refuse": {"rate": RateLimit(1_000, burst=5), "bulkhead": Bulkhead(3), "when_limited": "refuse"},
    **{policy: {"when_full": policy, "submit_timeout": 60} for policy in get_args(WhenFull)},
}


def end_by_result(pool: ThreadPool, view: PoolView) -> list[Any]:
    future = view.submit(int, "7")

    assert future.result(5) == 7
    return [future]


def end_by_exception(pool: ThreadPool, view: PoolView) -> list[Any]:
    future = view.submit(divmod, 1, 0)

    assert isinstance(future.exception(5), ZeroDivisionError)
    return [future]


def end_by_cancel_while_it_waits(pool: ThreadPool, view: PoolView) -> list[Any]:
    gate = Gate(pool)
    future, behind = view.submit(int), pool.submit(int)

    assert future.cancel()
    gate.open()
    assert behind.result(5) == 0
    with pytest.raises(CancelledError):
        future.result(5)
    return [gate.future, future, behind]


def end_by_cancel_while_it_runs(pool: ThreadPool, view: PoolView) -> list[Any]:
    entered = threading.Event()

    def run() -> None:
        entered.set()
        for _ in repeat(None):
            check_cancelled()

    future: Any = view.submit(run)
    assert entered.wait(5)

    assert future.cancel(running=True)
    with pytest.raises(CancelledError):
        future.result(5)
    return [future]


def end_by_timeout(pool: ThreadPool, view: PoolView) -> list[Any]:
    release = threading.Event()
    stuck, waiting = view.submit(release.wait, 5), pool.with_options(priority=-1, total_timeout=0.005).submit(int)

    assert isinstance(waiting.exception(5), TaskTimeout)
    release.set()
    assert stuck.exception(5) is None or isinstance(stuck.exception(5), TaskTimeout)
    return [stuck, waiting]


def end_by_shutdown(pool: ThreadPool, view: PoolView) -> list[Any]:
    gate = Gate(pool)
    futures = [view.submit(int, str(n)) for n in range(3)]

    pool.shutdown(wait=False)
    gate.open()
    assert [future.result(5) for future in futures] == [0, 1, 2]
    return [gate.future, *futures]


def end_by_shutdown_that_cancels(pool: ThreadPool, view: PoolView) -> list[Any]:
    gate = Gate(pool)
    futures = [view.submit(int) for _ in range(3)]

    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    gate.open()
    return [gate.future, *futures]


def end_after_a_pause(pool: ThreadPool, view: PoolView) -> list[Any]:
    pool.pause()
    futures = [view.submit(int, str(n)) for n in range(3)]
    assert futures[1].cancel()

    pool.resume()
    assert (futures[0].result(5), futures[2].result(5)) == (0, 2)
    return futures


def end_in_a_full_queue(pool: ThreadPool, view: PoolView) -> list[Any]:
    gate = Gate(pool)
    waiting = [pool.submit(int) for _ in range(4)]
    opener = threading.Timer(0.005, gate.open)
    opener.start()

    try:
        waiting.append(view.submit(int))
    except Exception:
        assert pool.stats().refused == 1
    opener.join()
    wait(waiting, 5)
    return [gate.future, *waiting]


EVENTS: list[Callable[[ThreadPool, PoolView], list[Any]]] = [
    end_by_result,
    end_by_exception,
    end_by_cancel_while_it_waits,
    end_by_cancel_while_it_runs,
    end_by_timeout,
    end_by_shutdown,
    end_by_shutdown_that_cancels,
    end_after_a_pause,
    end_in_a_full_queue,
]


@pytest.mark.parametrize("order", get_args(OrderName))
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nothing_is_lost(
    order: OrderName, event: Callable[[ThreadPool, PoolView], list[Any]], options: Mapping[str, Any]
) -> None:
    before = threading.active_count()
    when_full: Any = options.get("when_full", "reject")
    pool = ThreadPool(1, queue_size=4, order=order, when_full="reject" if event is end_in_a_full_queue else when_full)

    with pool:
        futures = event(pool, pool.with_options(**options))

    stats = pool.stats()
    assert all(future.done() for future in futures)
    assert (lost(stats), stats.waiting, stats.running, stats.workers) == (0, 0, 0, 0)
    assert stats.submitted == len(futures) + stats.refused
    assert stats.cancelled == sum(future.cancelled() for future in futures)
    assert threading.active_count() == before


# Processes: calls that a FIFO holds, each option and each order once beside each event.


def process_result(pool: ProcessPool, view: PoolView, gate: house.Gate) -> list[Any]:
    future = view.submit(int, "7")

    assert future.result(10) == 7
    return [future]


def process_exception(pool: ProcessPool, view: PoolView, gate: house.Gate) -> list[Any]:
    future = view.submit(divmod, 1, 0)

    assert isinstance(future.exception(10), ZeroDivisionError)
    return [future]


def process_cancel_while_it_waits(pool: ProcessPool, view: PoolView, gate: house.Gate) -> list[Any]:
    held = gate.hold(pool)
    future, behind = view.submit(int), pool.submit(int)

    assert future.cancel()
    gate.open()
    assert behind.result(10) == 0
    return [*held, future, behind]


def process_cancel_while_it_runs(pool: ProcessPool, view: PoolView, gate: house.Gate) -> list[Any]:
    future: Any = view.submit(house.heeding(gate))
    gate.await_calls()

    assert future.cancel(running=True)
    with pytest.raises(CancelledError):
        future.result(10)
    return [future]


def process_shutdown_that_cancels(pool: ProcessPool, view: PoolView, gate: house.Gate) -> list[Any]:
    held = gate.hold(pool)
    futures = [view.submit(int) for _ in range(3)]

    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    gate.open()
    return [*held, *futures]


def process_pause(pool: ProcessPool, view: PoolView, gate: house.Gate) -> list[Any]:
    pool.pause()
    futures = [view.submit(int, str(n)) for n in range(3)]
    assert futures[1].cancel()

    pool.resume()
    assert (futures[0].result(10), futures[2].result(10)) == (0, 2)
    return futures


PROCESS_EVENTS = [
    process_result,
    process_exception,
    process_cancel_while_it_waits,
    process_cancel_while_it_runs,
    process_shutdown_that_cancels,
    process_pause,
]
ORDERS = get_args(OrderName)


@pytest.fixture(scope="module")
def forkserver() -> None:
    """Start one: what it keeps open for all the pools to come is no leftover of a test."""
    with ProcessPool(1) as pool:
        pool.submit(int).result(10)


@pytest.mark.slow
@pytest.mark.parametrize("event", PROCESS_EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("n", range(len(OPTIONS)), ids=OPTIONS)
def test_nothing_is_lost_by_processes(forkserver: None, tmp_path: Path, event: Any, n: int) -> None:
    options = list(OPTIONS.values())[n]
    order = ORDERS[(n + PROCESS_EVENTS.index(event)) % len(ORDERS)]

    with house.gating(tmp_path) as gates, ProcessPool(1, queue_size=4, order=order) as pool:
        futures = event(pool, pool.with_options(**options), gates())

    stats = pool.stats()
    assert all(future.done() for future in futures)
    assert (lost(stats), stats.waiting, stats.running, stats.workers) == (0, 0, 0, 0)
    assert stats.submitted == len(futures)
    assert stats.cancelled == sum(future.cancelled() for future in futures)
