"""What other people's programs do with a ThreadPoolExecutor works with ThreadPool, and with the original alike."""

from __future__ import annotations

import asyncio
import contextvars
import io
import operator
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from functools import partial
from typing import Any

import dask
import pytest
from tqdm import tqdm
from tqdm.contrib.concurrent import _executor_map  # what thread_map calls with the standard library's class

import millhand
from millhand import ThreadPool
from tests.pool.gate import Gate

POOLS = [ThreadPoolExecutor, ThreadPool]
TWO_KINDS = [(ThreadPool, ThreadPoolExecutor), (ThreadPoolExecutor, ThreadPool)]


@pytest.fixture(params=POOLS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., ThreadPoolExecutor]]:
    """Make pools of either kind; they are shut down after the test."""
    made: list[ThreadPoolExecutor] = []

    def make_one(*args: Any, **kwargs: Any) -> ThreadPoolExecutor:
        made.append(request.param(*args, **kwargs))
        return made[-1]

    yield make_one
    for pool in made:
        pool.shutdown()


@pytest.fixture(params=TWO_KINDS, ids=["ours-stdlib", "stdlib-ours"])
def two(request: pytest.FixtureRequest) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    """One pool of each kind, with two workers, in either order."""
    one, other = request.param
    with one(2) as first, other(2) as second:
        yield first, second


@pytest.fixture
def hold() -> Iterator[Callable[[Executor], Gate]]:
    """Keep workers busy; asked for after `make` or `two`, so that a pool never waits for what a failed test held."""
    gates: list[Gate] = []

    def hold_one(pool: Executor) -> Gate:
        gates.append(Gate(pool))
        return gates[-1]

    yield hold_one
    for gate in gates:
        gate.open()


def soon(*actions: Callable[[], object]) -> None:
    """Do it when the test most likely waits for it, so that it is woken; if it does not yet, it holds all the same."""
    threading.Timer(0.02, lambda: [action() for action in actions]).start()


def boom() -> None:
    raise ZeroDivisionError("boom")


def thread_name(_: object = None) -> str:
    return threading.current_thread().name


# asyncio.


def test_asyncios_default_calls_run_on_the_pools_threads(make: Any) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(make(2, thread_name_prefix="mill"))
        return [await loop.run_in_executor(None, thread_name), await asyncio.to_thread(thread_name)]

    assert {name.rpartition("_")[0] for name in asyncio.run(main())} == {"mill"}


def test_asyncios_own_blocking_calls_run_there_too(make: Any) -> None:
    started: list[str] = []
    pool = make(1, initializer=lambda: started.append(thread_name()))

    async def main() -> object:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(pool)
        return await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    assert asyncio.run(main())[0][-1] == ("127.0.0.1", 80)
    assert len(started) == 1


def test_to_thread_carries_the_callers_context(make: Any) -> None:
    request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")

    async def handle(number: str) -> str:
        request_id.set(number)
        return await asyncio.to_thread(request_id.get)

    async def main() -> list[str]:
        asyncio.get_running_loop().set_default_executor(make(2))
        return await asyncio.gather(*(handle(number) for number in "abcdef"))

    assert asyncio.run(main()) == list("abcdef")


def test_the_end_of_asyncio_run_shuts_its_default_pool_down(make: Any) -> None:
    pool = make(2)

    async def main() -> threading.Thread:
        asyncio.get_running_loop().set_default_executor(pool)
        return await asyncio.to_thread(threading.current_thread)

    worker = asyncio.run(main())

    assert not worker.is_alive()
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_an_error_in_the_pool_is_raised_where_it_is_awaited(make: Any) -> None:
    async def main(pool: Executor) -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(pool, boom)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(pool.submit(boom))

    asyncio.run(main(make(1)))


def test_awaiting_hundreds_of_calls_at_once_keeps_them_apart(make: Any) -> None:
    async def main(pool: Executor) -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, operator.mul, n, 2) for n in range(300)))

    assert asyncio.run(main(make(3))) == list(range(0, 600, 2))


def test_cancelling_in_asyncio_cancels_the_waiting_call(make: Any, hold: Any) -> None:
    calls: list[int] = []

    async def main(pool: Executor) -> None:
        future = pool.submit(calls.append, 1)
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        await asyncio.sleep(0)  # one turn of the loop, in which asyncio passes the cancel on
        assert future.cancelled()

    pool = make(1)
    gate = hold(pool)

    asyncio.run(main(pool))
    gate.open()
    pool.shutdown()

    assert calls == []


def test_a_wait_that_gives_up_in_asyncio_cancels_the_waiting_call(make: Any, hold: Any) -> None:
    calls: list[int] = []

    async def main(pool: Executor) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(pool, calls.append, 1), 0.01)

    pool = make(1)
    gate = hold(pool)

    asyncio.run(main(pool))
    gate.open()
    pool.shutdown()

    assert calls == []


def test_a_task_group_that_fails_cancels_its_waiting_calls(make: Any, hold: Any) -> None:
    calls: list[int] = []

    async def fail() -> None:
        raise ZeroDivisionError

    async def main(pool: Executor) -> None:
        loop = asyncio.get_running_loop()

        async def call() -> None:
            await loop.run_in_executor(pool, calls.append, 1)

        async with asyncio.TaskGroup() as group:
            group.create_task(call())
            group.create_task(fail())

    pool = make(1)
    gate = hold(pool)

    with pytest.raises(ExceptionGroup):
        asyncio.run(main(pool))
    gate.open()
    pool.shutdown()

    assert calls == []


def test_a_call_that_is_cancelled_in_the_pool_is_cancelled_in_asyncio(make: Any, hold: Any) -> None:
    async def main(future: Future[None]) -> None:
        wrapped = asyncio.wrap_future(future)
        assert await asyncio.to_thread(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    pool = make(1)
    hold(pool)

    asyncio.run(main(pool.submit(boom)))


def test_a_running_call_survives_that_asyncio_no_longer_waits(
    make: Any, hold: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(future: Future[None]) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.001)

    gate = hold(make(1))

    asyncio.run(main(gate.future))
    gate.open()

    assert gate.future.result(5) is None
    assert caplog.text == ""


def test_a_call_may_end_after_its_loop_was_closed(make: Any, hold: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main(future: Future[None]) -> None:
        asyncio.wrap_future(future)

    pool = make(1)
    gate = hold(pool)

    asyncio.run(main(gate.future))
    gate.open()
    pool.shutdown()

    assert gate.future.exception() is None
    assert caplog.text == ""


def test_asyncio_calls_through_a_view_with_a_timeout_fail_in_time() -> None:
    never = threading.Event()

    async def main(pool: ThreadPool) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.get_running_loop().run_in_executor(pool.with_options(timeout=0.01), never.wait, 10)
        never.set()

    with ThreadPool(1) as pool:
        asyncio.run(main(pool))


def test_asyncio_calls_through_a_view_with_a_priority_run_sooner() -> None:
    order: list[str] = []

    async def main(pool: ThreadPool) -> None:
        loop = asyncio.get_running_loop()
        gate = Gate(pool)
        later = loop.run_in_executor(pool.with_options(priority=1), order.append, "later")
        sooner = loop.run_in_executor(pool.with_options(priority=9), order.append, "sooner")
        gate.open()
        await asyncio.gather(later, sooner)

    with ThreadPool(1) as pool:
        asyncio.run(main(pool))

    assert order == ["sooner", "later"]


# wait and as_completed, on futures of both kinds at once.


def test_waiting_for_all_of_both_kinds(two: Any, hold: Any) -> None:
    gates = [hold(pool) for pool in two]
    futures = [gate.future for gate in gates] + [pool.submit(fn) for pool in two for fn in (int, boom)]

    soon(*(gate.open for gate in gates))
    done, not_done = wait([*futures, *futures], 5, ALL_COMPLETED)

    assert (done, not_done) == (set(futures), set())


def test_waiting_for_the_first_of_both_kinds(two: Any, hold: Any) -> None:
    slow, quick = (hold(pool) for pool in two)

    soon(quick.open)
    began = time.monotonic()
    done, not_done = wait([slow.future, quick.future], 5, FIRST_COMPLETED)

    assert (done, not_done) == ({quick.future}, {slow.future})
    assert time.monotonic() - began < 4  # by the first end, not by the end of the wait


def test_waiting_for_the_first_error_of_both_kinds(two: Any, hold: Any) -> None:
    held, told = hold(two[0]), threading.Event()

    def fail() -> None:
        assert told.wait(5)
        boom()

    fine, failing = two[0].submit(int), two[1].submit(fail)
    soon(told.set)
    began = time.monotonic()
    done, not_done = wait([held.future, fine, failing], 5, FIRST_EXCEPTION)

    assert failing in done
    assert held.future in not_done
    assert time.monotonic() - began < 4  # by the error, not by the end of the wait


@pytest.mark.parametrize("mode", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_waiting_for_both_kinds_gives_up_in_time(two: Any, hold: Any, mode: str) -> None:
    gates = [hold(pool) for pool in two]
    futures = {gate.future for gate in gates}

    assert wait(futures, 0.005, mode) == (set(), futures)


def test_a_cancel_counts_as_an_end_for_those_who_wait(two: Any, hold: Any) -> None:
    gates = [hold(pool) for pool in (*two, *two)]
    waiting = [pool.submit(int) for pool in two]

    soon(*(future.cancel for future in waiting), *(gate.open for gate in gates))
    done, not_done = wait(waiting, 5)

    assert (done, not_done) == (set(waiting), set())
    assert all(future.cancelled() for future in waiting)


def test_as_completed_yields_both_kinds_in_the_order_in_which_they_end(two: Any, hold: Any) -> None:
    gates = [hold(pool) for pool in (*two, *two)]
    ends = as_completed([gate.future for gate in gates], timeout=5)
    seen = []
    for gate in gates:
        gate.open()
        seen.append(next(ends))

    assert seen == [gate.future for gate in gates]


def test_as_completed_over_both_kinds_gives_up_in_time(two: Any, hold: Any) -> None:
    held, quick = (hold(pool) for pool in two)
    quick.open()
    quick.future.result(5)
    ends = as_completed([held.future, quick.future], timeout=0.02)

    assert next(ends) is quick.future
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        next(ends)


# tqdm.


@pytest.mark.parametrize("pool_type", POOLS)
def test_tqdm_maps_in_order_and_its_bar_hears_of_every_call(pool_type: Any) -> None:
    steps: list[float] = []

    class Bar(tqdm):
        def update(self, n: float = 1) -> bool | None:
            steps.append(n)
            return super().update(n)

    squares = _executor_map(pool_type, pow, range(40), [2] * 40, max_workers=3, tqdm_class=Bar, file=io.StringIO())

    assert squares == [n * n for n in range(40)]
    assert steps == [1] * 40


@pytest.mark.parametrize("pool_type", POOLS)
def test_tqdm_takes_the_names_of_threads_and_a_chunk_size(pool_type: Any) -> None:
    names = _executor_map(
        pool_type, thread_name, range(9), thread_name_prefix="mill", chunksize=4, max_workers=2, file=io.StringIO()
    )

    assert {name.rpartition("_")[0] for name in names} == {"mill"}


@pytest.mark.parametrize("pool_type", POOLS)
def test_tqdm_raises_what_a_call_raised(pool_type: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        _executor_map(pool_type, partial(operator.truediv, 1), [2, 1, 0, 4], max_workers=2, file=io.StringIO())


# Dask's local scheduler.


@dask.delayed
def double(number: int) -> int:
    return number * 2


@dask.delayed
def add(*numbers: int) -> int:
    return sum(numbers)


def tree_of_sums(leaves: int) -> Any:
    nodes = [double(n) for n in range(leaves)]
    while len(nodes) > 1:
        nodes = [add(*nodes[at : at + 4]) for at in range(0, len(nodes), 4)]
    return nodes[0]


def test_dask_computes_a_graph_on_the_pool(make: Any) -> None:
    names = [dask.delayed(thread_name)(n) for n in range(8)]

    total, *seen = dask.compute(tree_of_sums(64), *names, scheduler="threads", pool=make(4, thread_name_prefix="mill"))

    assert total == sum(range(64)) * 2
    assert {name.rpartition("_")[0] for name in seen} == {"mill"}


def test_dask_takes_the_pool_from_its_settings(make: Any) -> None:
    with dask.config.set(pool=make(4, thread_name_prefix="mill")):
        name = dask.delayed(thread_name)().compute()

    assert name.startswith("mill")


def test_dask_takes_the_pool_as_its_scheduler(make: Any) -> None:
    pool = make(3, thread_name_prefix="mill")

    assert tree_of_sums(30).compute(scheduler=pool) == sum(range(30)) * 2
    assert dask.delayed(thread_name)().compute(scheduler=pool).startswith("mill")


def test_dask_computes_on_a_view_with_options() -> None:
    with ThreadPool(2) as pool:
        assert tree_of_sums(10).compute(scheduler=pool.with_options(timeout=60, priority=3)) == sum(range(10)) * 2

        assert pool.stats().submitted >= 10


def test_dask_computes_a_graph_inside_a_graph_on_the_same_pool(make: Any) -> None:
    pool = make(4)

    @dask.delayed
    def inner(leaves: int) -> int:
        return tree_of_sums(leaves).compute(scheduler=pool)

    totals = dask.compute(*(inner(n) for n in (3, 5, 7)), scheduler="threads", pool=pool)

    assert totals == (6, 20, 42)


def test_dask_raises_what_a_task_raised_and_the_pool_goes_on(make: Any) -> None:
    pool = make(2)
    failing = add(double(1), dask.delayed(boom)())

    with pytest.raises(ZeroDivisionError, match="boom"):
        failing.compute(scheduler=pool)

    assert add(double(1), double(2)).compute(scheduler=pool) == 6


# Code that inherits from the pool, asks what it is, or hands it odd things to call.


@pytest.mark.parametrize("pool_type", POOLS)
def test_a_subclass_that_overrides_submit_sees_every_call(pool_type: Any) -> None:
    class Session(pool_type):
        """As requests-futures and many tracing libraries have it."""

        def __init__(self, workers: int, tag: str) -> None:
            super().__init__(max_workers=workers)
            self.tag = tag
            self.seen: list[str] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(fn.__name__)
            return super().submit(self.call, fn, *args, **kwargs)

        def call(self, fn: Any, *args: Any, **kwargs: Any) -> tuple[str, object]:
            return self.tag, fn(*args, **kwargs)

    with Session(2, tag="t") as session:
        submitted = session.submit(int, "11", base=3).result()
        mapped = list(session.map(abs, [-1, 2]))

    assert (submitted, mapped) == (("t", 4), [("t", 1), ("t", 2)])
    assert session.seen == ["int", "abs", "abs"]


@pytest.mark.parametrize("pool_type", POOLS)
def test_a_mixin_before_the_pool_may_change_what_is_submitted(pool_type: Any) -> None:
    class Retrying:
        def submit(self, fn: Any, /, *args: Any) -> Any:
            return super().submit(self.call_twice, fn, *args)

        def call_twice(self, fn: Any, *args: Any) -> Any:
            try:
                return fn(*args)
            except ZeroDivisionError:
                return fn(*args)

    class RetryingPool(Retrying, pool_type):
        pass

    answers = iter([0, 1])
    with RetryingPool(1) as retrying:
        assert retrying.submit(lambda: 1 / next(answers)).result() == 1.0


def test_a_submit_set_on_the_instance_is_what_map_calls(make: Any) -> None:
    pool = make(2)
    submit, seen = pool.submit, []

    def watched(fn: Any, *args: Any) -> Any:
        seen.append(args)
        return submit(fn, *args)

    pool.submit = watched

    assert list(pool.map(abs, [-1, -2])) == [1, 2]
    assert seen == [(-1,), (-2,)]


def test_a_pool_is_what_type_checks_at_run_time_look_for() -> None:
    with ThreadPool(1) as pool:
        future = pool.submit(int)

        assert isinstance(pool, ThreadPoolExecutor)
        assert isinstance(pool.with_options(priority=1), Executor)
        assert isinstance(future, Future)
        assert isinstance(pool.with_options(priority=1).submit(int), Future)
        assert issubclass(millhand.Future, Future)


class Adder:
    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, second: int) -> int:
        return self.first + second

    def add(self, second: int) -> int:
        return self.first + second

    @classmethod
    def of_one(cls, second: int) -> int:
        return cls(1).add(second)

    @staticmethod
    def plain(second: int) -> int:
        return second + 1


CALLABLES: dict[str, Callable[[int], int]] = {
    "partial": partial(operator.add, 1),
    "partial of a method": partial(Adder(1).add),
    "callable object": Adder(1),
    "method": Adder(1).add,
    "class method": Adder.of_one,
    "static method": Adder.plain,
    "slot": (1).__add__,
    "lambda": lambda second: second + 1,
}


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
def test_whatever_can_be_called_can_be_submitted(make: Any, fn: Callable[[int], int]) -> None:
    assert make(1).submit(fn, 2).result() == 3


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
def test_whatever_can_be_called_can_have_a_timeout(fn: Callable[[int], int]) -> None:
    with ThreadPool(1) as pool:
        assert pool.with_options(timeout=60).submit(fn, 2).result() == 3


@pytest.mark.parametrize("ended", [True, False])
def test_a_future_refuses_to_be_pickled(make: Any, hold: Any, ended: bool) -> None:
    """A copy in another process would never end."""
    gate = hold(make(1))
    if ended:
        gate.open()
        gate.future.result(5)

    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(gate.future)


@pytest.mark.parametrize("future_type", [Future, millhand.Future])
def test_a_future_without_a_pool_refuses_to_be_pickled(future_type: type[Future[int]]) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(future_type())


def test_a_pool_refuses_to_be_pickled(make: Any) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(make(1))
