"""What an Executor promises, on ours and on the standard library's own: that both pass is what "drop-in" means."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from typing import Any

import pytest

from millhand import ThreadPool
from millhand.pool.coroutine import CoroutinePool
from tests.pool.gate import Gate

POOLS = [ThreadPoolExecutor, ThreadPool]


class OnCoroutines(CoroutinePool):
    """Runs plain functions, each in a coroutine that waits for it, so that the same can be asked of it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # for the test only
        return super().submit(asyncio.to_thread, fn, *args, **kwargs)


EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "stdlib": ThreadPoolExecutor,
    "millhand": ThreadPool,
    "millhand-small-queue": lambda workers: ThreadPool(workers, queue_size=1_000),
    "millhand-coroutines": OnCoroutines,
    "millhand-view": lambda workers: ThreadPool(workers).with_options(timeout=60, priority=1),
}

CALL_BACK_IN_A_WORKER = pytest.mark.parametrize(
    "make", sorted(EXECUTORS.keys() - {"millhand-coroutines"}), indirect=True
)
"""Coroutines call back on their loop, which a callback must not block."""


@pytest.fixture(params=EXECUTORS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Executor]]:
    made: list[Executor] = []

    def make_one(workers: int) -> Executor:
        made.append(EXECUTORS[request.param](workers))
        return made[-1]

    yield make_one
    for executor in made:
        executor.shutdown()


def boom() -> None:
    raise ZeroDivisionError("boom")


def test_submit_passes_all_arguments_on(make: Any) -> None:
    def show(*args: object, **kwargs: object) -> object:
        return args, kwargs

    assert make(1).submit(show, 1, 2, fn=3, self=4).result() == ((1, 2), {"fn": 3, "self": 4})


def test_submit_needs_a_function(make: Any) -> None:
    with pytest.raises(TypeError):
        make(1).submit()


def test_an_exception_is_raised_from_the_future_with_its_traceback(make: Any) -> None:
    future = make(1).submit(boom)

    with pytest.raises(ZeroDivisionError, match="boom") as caught:
        future.result()

    assert caught.traceback[-1].name == "boom"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_ends_only_its_task(make: Any, kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind

    executor = make(1)

    assert isinstance(executor.submit(leave).exception(), kind)
    assert executor.submit(int).result() == 0


def test_map_keeps_the_order_and_stops_with_the_shortest(make: Any) -> None:
    assert list(make(3).map(pow, range(5), [2] * 9)) == [0, 1, 4, 9, 16]


def test_map_raises_where_the_call_did(make: Any) -> None:
    results = make(2).map(divmod, [4, 4], [2, 0])

    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_with_a_timeout_gives_up_waiting(make: Any) -> None:
    executor = make(1)
    gate = Gate(executor)

    with pytest.raises(TimeoutError):
        next(executor.map(int, [1], timeout=0.001))

    gate.open()


def test_what_waits_can_be_cancelled_and_is_never_run(make: Any) -> None:
    calls: list[int] = []
    executor = make(1)
    gate = Gate(executor)
    future = executor.submit(calls.append, 1)

    assert future.cancel()
    assert not gate.future.cancel()

    gate.open()
    executor.shutdown()
    assert calls == []
    with pytest.raises(CancelledError):
        future.result()


def test_shutdown_runs_what_waits_and_refuses_what_comes_later(make: Any) -> None:
    executor = make(2)
    futures = [executor.submit(int, n) for n in range(50)]

    executor.shutdown()
    executor.shutdown()

    assert [future.result() for future in futures] == list(range(50))
    with pytest.raises(RuntimeError):
        executor.submit(int)


def test_shutdown_can_cancel_what_waits(make: Any) -> None:
    executor = make(1)
    gate = Gate(executor)
    futures = [executor.submit(int) for _ in range(10)]

    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()
    executor.shutdown()

    assert all(future.cancelled() for future in futures)
    assert gate.future.exception() is None


def test_shutdown_need_not_wait(make: Any) -> None:
    executor = make(1)
    gate = Gate(executor)
    behind = executor.submit(int)

    executor.shutdown(wait=False)

    assert not gate.future.done()
    gate.open()
    assert behind.result() == 0


def test_leaving_the_with_block_waits(make: Any) -> None:
    with make(2) as executor:
        futures = [executor.submit(time.sleep, 0.001) for _ in range(5)]

    assert all(future.done() for future in futures)


def test_after_the_shutdown_no_thread_is_left(make: Any) -> None:
    before = threading.active_count()
    executor = make(5)
    wait([executor.submit(time.sleep, 0.001) for _ in range(10)])

    executor.shutdown()

    assert threading.active_count() == before


@pytest.mark.parametrize("mode", [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED])
def test_wait_sees_futures_end(make: Any, mode: str) -> None:
    executor = make(2)
    gate = Gate(executor)
    quick = [executor.submit(boom), executor.submit(int)]
    if mode == ALL_COMPLETED:
        gate.open()

    done, not_done = wait([gate.future, *quick], 5, mode)

    assert done | not_done == {gate.future, *quick}
    assert done & set(quick)
    assert (gate.future in done) == (mode == ALL_COMPLETED)
    gate.open()


def test_as_completed_yields_each_once_as_it_ends(make: Any) -> None:
    executor = make(2)
    gate = Gate(executor)
    quick = [executor.submit(int, n) for n in range(20)]
    ends = as_completed([gate.future, *quick], timeout=5)

    first = [next(ends) for _ in quick]
    gate.open()

    assert set(first) == set(quick)
    assert list(ends) == [gate.future]


def test_wait_across_executors(make: Any) -> None:
    mine, theirs = make(2), make(2)
    futures = [executor.submit(int, n) for n in range(30) for executor in (mine, theirs)]

    done, not_done = wait(futures, 5)

    assert (len(done), not_done) == (60, set())


@CALL_BACK_IN_A_WORKER
def test_a_callback_gets_the_future_in_the_worker(make: Any) -> None:
    seen: list[Any] = []
    executor = make(1)
    gate = Gate(executor)
    gate.future.add_done_callback(lambda future: seen.append((future, threading.current_thread())))

    gate.open()
    worker = executor.submit(threading.current_thread).result()

    assert seen == [(gate.future, worker)]


@CALL_BACK_IN_A_WORKER
def test_a_callback_that_blocks_holds_nobody_else_up(make: Any) -> None:
    """The worker looks free when its task ends; if it then waits in a callback, another must be hired."""
    executor = make(2)
    gate = Gate(executor)
    outcomes: list[object] = []
    called = threading.Event()

    def wait_for_another(_: object) -> None:
        outcomes.append(executor.submit(int).result(5))
        called.set()

    gate.future.add_done_callback(wait_for_another)
    gate.open()

    assert called.wait(5)
    assert outcomes == [0]


def test_two_tasks_that_wait_for_each_other_get_two_workers(make: Any) -> None:
    executor = make(2)
    for _ in range(20):
        barrier = threading.Barrier(2)
        futures = [executor.submit(barrier.wait, 5) for _ in range(2)]

        assert sorted(future.result() for future in futures) == [0, 1]


def test_arguments_and_results_are_let_go(make: Any) -> None:
    class Something:
        pass

    executor = make(1)
    thing = Something()
    gone = weakref.ref(thing)

    future = executor.submit(lambda thing: Something(), thing)
    result = weakref.ref(future.result())
    del thing, future
    deadline = time.monotonic() + 2
    while (gone() or result()) and time.monotonic() < deadline:
        gc.collect()  # the worker may not be back at its queue yet; once there, it must hold nothing

    assert gone() is None
    assert result() is None


def test_asyncio_runs_calls_in_it(make: Any) -> None:
    async def main() -> object:
        return await asyncio.get_running_loop().run_in_executor(make(1), pow, 2, 5)

    assert asyncio.run(main()) == 32


def test_asyncio_wraps_its_futures(make: Any) -> None:
    async def main() -> object:
        executor = make(2)
        return await asyncio.gather(*(asyncio.wrap_future(executor.submit(int, n)) for n in range(100)))

    assert asyncio.run(main()) == list(range(100))


@pytest.mark.parametrize("pool_type", POOLS)
def test_asyncio_takes_the_pool_as_its_default(pool_type: type[ThreadPoolExecutor]) -> None:
    async def main() -> object:
        asyncio.get_running_loop().set_default_executor(pool_type(1))
        return await asyncio.to_thread(contextvars.copy_context().run, int, 3)

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize("pool_type", POOLS)
@pytest.mark.parametrize("workers", [0, -1])
def test_there_must_be_a_worker(pool_type: type[ThreadPoolExecutor], workers: int) -> None:
    with pytest.raises(ValueError, match="max_workers"):
        pool_type(max_workers=workers)


@pytest.mark.parametrize("pool_type", POOLS)
def test_positional_arguments_have_the_order_of_the_standard_library(pool_type: type[ThreadPoolExecutor]) -> None:
    seen: list[object] = []
    with pool_type(1, "named", seen.append, (7,)) as pool:
        assert pool.submit(lambda: threading.current_thread().name).result() == "named_0"

    assert seen == [7]


@pytest.mark.parametrize("pool_type", POOLS)
def test_the_initializer_must_be_callable(pool_type: type[ThreadPoolExecutor]) -> None:
    with pytest.raises(TypeError, match="initializer"):
        pool_type(1, initializer=3)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("pool_type", POOLS)
def test_an_initializer_that_fails_breaks_the_pool(
    pool_type: type[ThreadPoolExecutor], caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def fail() -> None:
        assert gate.wait(5)
        boom()

    with pool_type(1, initializer=fail) as pool:
        futures = [pool.submit(int) for _ in range(3)]
        gate.set()

        assert all(isinstance(future.exception(), BrokenExecutor) for future in futures)
        with pytest.raises(BrokenExecutor):
            pool.submit(int)
    assert "Exception in initializer" in caplog.text


@pytest.mark.parametrize("pool_type", POOLS)
def test_workers_are_hired_on_demand_and_idle_ones_used_again(pool_type: type[ThreadPoolExecutor]) -> None:
    with pool_type(5) as pool:
        assert len(pool._threads) == 0  # noqa: SLF001 - programs look at it, so it is part of what is promised
        for _ in range(5):
            pool.submit(int).result()
            time.sleep(0.001)  # the standard library's worker becomes idle only after its result is out
        assert len(pool._threads) == 1  # noqa: SLF001 - as above


@pytest.mark.parametrize("pool_type", POOLS)
def test_no_more_workers_than_asked_for(pool_type: type[ThreadPoolExecutor]) -> None:
    with pool_type(3) as pool:
        wait([pool.submit(time.sleep, 0.0005) for _ in range(30)])

        assert len(pool._threads) == 3  # noqa: SLF001 - programs look at it, so it is part of what is promised


@pytest.mark.parametrize("pool_type", POOLS)
def test_a_pool_that_is_collected_lets_its_threads_go(pool_type: type[ThreadPoolExecutor]) -> None:
    pool = pool_type(2)
    futures = [pool.submit(int, n) for n in range(10)]
    threads = list(pool._threads)  # noqa: SLF001 - programs look at it, so it is part of what is promised

    del pool
    gc.collect()
    for thread in threads:
        thread.join(5)

    assert not any(thread.is_alive() for thread in threads)
    assert [future.result() for future in futures] == list(range(10))
