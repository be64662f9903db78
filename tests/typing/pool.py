"""What type checkers make of a pool: `make check` has mypy and pyright read this file, and nothing runs it.

Positive cases are `assert_type` lines. Negative ones carry a `type: ignore` with their reason, and both checkers report
an ignore that hides nothing: if a mistake is no longer found, this file fails.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, assert_type

from millhand import CoroutinePool, Future, Group, PoolView, ProcessPool, SubPool, ThreadPool, current_task
from millhand.pool.coroutine import CoroutineGroup, CoroutineView
from millhand.pool.task import Task

P = ParamSpec("P")
T = TypeVar("T")


def resize(path: str, width: int, *, crop: bool = False) -> bytes:
    raise NotImplementedError


def first_of(items: list[T]) -> T:
    raise NotImplementedError


async def fetch(url: str, *, retries: int = 0) -> bytes:
    raise NotImplementedError


async def count() -> AsyncIterator[int]:
    yield 1


class Account:
    """This has what else can be called: a constructor, a method, an async method, the object itself."""

    def __init__(self, owner: str) -> None:
        raise NotImplementedError

    def pay(self, cents: int) -> bool:
        raise NotImplementedError

    async def check(self, cents: int) -> float:
        raise NotImplementedError

    def __call__(self, year: int) -> list[str]:
        raise NotImplementedError


# Threads: the function's own signature is that of the submit.


def submit_keeps_the_signature(pool: ThreadPool, view: PoolView, group: Group, subpool: SubPool) -> None:
    assert_type(pool.submit(resize, "a.png", 64, crop=True), Future[bytes])
    assert_type(view.submit(resize, "a.png", width=64), Future[bytes])
    assert_type(group.submit(resize, path="a.png", width=64), Future[bytes])
    assert_type(subpool.submit(resize, "a.png", 64), Future[bytes])

    pool.submit(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text
    view.submit(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text
    group.submit(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text
    subpool.submit(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text
    pool.submit(resize, "a.png")  # type: ignore[call-arg]  # the width is missing
    view.submit(resize, "a.png")  # type: ignore[call-arg]  # the width is missing
    group.submit(resize, "a.png")  # type: ignore[call-arg]  # the width is missing
    subpool.submit(resize, "a.png")  # type: ignore[call-arg]  # the width is missing
    pool.submit(resize, "a.png", 64, True)  # type: ignore[call-arg]  # crop goes by its name
    pool.submit(resize, "a.png", 64, mode="L")  # type: ignore[call-arg]  # resize has no mode
    pool.submit(resize("a.png", 64))  # type: ignore[arg-type]  # called here, and its outcome submitted
    pool.submit(fn=resize)  # type: ignore[call-arg]  # the function goes first; its keywords are all its own's


def options_lead_to_a_view(pool: ThreadPool, group: Group, subpool: SubPool) -> None:
    view = pool.with_options(timeout=5, priority=1, key="user", when_full="reject")

    assert_type(view, PoolView)
    assert_type(view.with_options(interrupt=True), PoolView)
    assert_type(group.with_options(priority=1), PoolView)
    assert_type(subpool.with_options(timeout=1).submit(resize, "a.png", 64).result(), bytes)

    pool.with_options(time_limit=5)  # type: ignore[call-arg]  # it is called timeout
    pool.with_options(5)  # type: ignore[call-arg]  # options go by their names
    pool.with_options(timeout="5")  # type: ignore[arg-type]  # seconds are a number
    pool.with_options(when_full="wait")  # type: ignore[arg-type]  # no such policy
    ThreadPool(4, order="sorted")  # type: ignore[arg-type]  # no such order
    ThreadPool("4")  # type: ignore[arg-type]  # a number, or two
    view.stats()  # type: ignore[attr-defined]  # a view has the doors of a pool, not its switches


def all_that_can_be_called_can_be_submitted(pool: ThreadPool, account: Account, wanted: int) -> None:
    assert_type(pool.submit(Account, "Ada"), Future[Account])
    assert_type(pool.submit(account.pay, 100), Future[bool])
    assert_type(pool.submit(account, 2024), Future[list[str]])
    assert_type(pool.submit(partial(resize, "a.png"), 64), Future[bytes])
    assert_type(pool.submit(lambda: wanted + 1), Future[int])
    assert_type(pool.submit(first_of, [1, 2]), Future[int])
    assert_type(pool.submit(Path, "a", "b"), Future[Path])

    pool.submit(account.pay, "100")  # type: ignore[arg-type]  # cents are a number
    pool.submit(Account)  # type: ignore[call-arg]  # whose account?


def a_thread_does_not_await(pool: ThreadPool) -> None:
    future = pool.submit(fetch, "/")
    page: bytes = future.result()  # type: ignore[assignment]  # a coroutine, that nobody awaits
    del page


def a_wrapper_of_ones_own_keeps_it_too(pool: ThreadPool) -> None:
    def submit_logged(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return pool.submit(fn, *args, **kwargs)

    assert_type(submit_logged(resize, "a.png", 64), Future[bytes])
    submit_logged(resize, "a.png")  # type: ignore[call-arg]  # the width is missing


def a_future_has_the_type_of_the_outcome(pool: ThreadPool) -> None:
    future = pool.submit(len, "abc")

    assert_type(future.result(timeout=1), int)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.cancel(running=True), bool)
    assert_type([done.result() for done in concurrent.futures.as_completed([future])], list[int])
    future.add_done_callback(lambda done: print(done.result() + 1))

    text: str = future.result()  # type: ignore[assignment]  # a length is a number
    future + 1  # type: ignore[operator]  # its result is one, it is none
    future.cancel(True)  # type: ignore[call-arg]  # running goes by its name
    future.set_priority("high")  # type: ignore[arg-type]  # priorities are numbers
    del text


def a_map_yields_outcomes(pool: ThreadPool, view: PoolView, group: Group, subpool: SubPool) -> None:
    assert_type(pool.map(len, ["a", "bc"]), Generator[int, None, None])
    assert_type(list(pool.map(resize, ["a.png"], [64], buffersize=10, ordered=False)), list[bytes])
    assert_type(next(view.map(resize, ["a.png"], [64])), bytes)
    assert_type(next(group.map(resize, ["a.png"], [64])), bytes)
    assert_type(next(subpool.map(Account, ["Ada"])), Account)

    names: Iterator[str] = pool.map(len, ["a"])  # type: ignore[arg-type]  # lengths are numbers
    pool.map(len, ["a"], 10)  # type: ignore[arg-type]  # a source can be iterated; buffersize goes by its name
    pool.map(len, ["a"], order=False)  # type: ignore[call-arg]  # it is called ordered
    del names


def pools_stand_where_executors_are_wanted(pool: ThreadPool, view: PoolView, group: Group, subpool: SubPool) -> None:
    executors: list[Executor] = [pool, view, group, subpool, pool.subpool(2)]
    standard: ThreadPoolExecutor = pool
    promise: concurrent.futures.Future[bytes] = pool.submit(resize, "a.png", 64)

    with ThreadPool((2, 32), initializer=print, initargs=("on",)) as entered, entered.group() as calls:
        assert_type(entered, ThreadPool)
        assert_type(calls, Group)
        assert_type(calls.group(total_timeout=1), Group)
    with subpool as entered_subpool:
        assert_type(entered_subpool, SubPool)
    assert_type(current_task(), Task | None)
    del executors, standard, promise


# Processes: the doors are those of threads; what it takes is what ProcessPoolExecutor takes, and more.


def a_pool_of_processes_has_the_same_doors(pool: ProcessPool, account: Account) -> None:
    assert_type(pool.submit(resize, "a.png", 64, crop=True), Future[bytes])
    assert_type(pool.submit(account.pay, 100), Future[bool])
    assert_type(pool.with_options(timeout=5, priority=1), PoolView)
    assert_type(pool.with_options(timeout=5).submit(resize, "a.png", 64).result(), bytes)
    assert_type(pool.group(total_timeout=5), Group)
    assert_type(pool.group().submit(len, "abc"), Future[int])
    assert_type(pool.subpool(2), SubPool)
    assert_type(pool.map(len, ["a", "bc"]), Generator[int, None, None])
    assert_type(list(pool.map(resize, ["a.png"], [64], chunksize=10, ordered=False)), list[bytes])
    assert_type(pool.share([1, 2]), list[int])
    assert_type(pool.submit(first_of, pool.share([1, 2])), Future[int])
    pool.resize((2, 4))

    pool.submit(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text
    pool.submit(resize, "a.png")  # type: ignore[call-arg]  # the width is missing
    pool.submit(fn=resize)  # type: ignore[call-arg]  # the function goes first; its keywords are all its own's
    pool.map(len, ["a"], 10)  # type: ignore[arg-type]  # a source can be iterated; buffersize goes by its name
    ProcessPool("4")  # type: ignore[arg-type]  # a number, or two
    ProcessPool(4, max_tasks_per_child="9")  # type: ignore[arg-type]  # a number
    ProcessPool(4, order="sorted")  # type: ignore[arg-type]  # no such order
    ProcessPool(4, None, print, (), 9)  # type: ignore[call-arg]  # max_tasks_per_child goes by its name


def a_pool_of_processes_stands_where_an_executor_is_wanted(pool: ProcessPool) -> None:
    executors: list[Executor] = [pool, pool.with_options(priority=1), pool.group(), pool.subpool(1)]
    context = multiprocessing.get_context("spawn")
    with ProcessPool(4, context, print, ("on",), max_tasks_per_child=9) as entered:
        assert_type(entered, ProcessPool)
    with ProcessPool((2, 4), "forkserver"):
        pass
    threads: ThreadPoolExecutor = pool  # type: ignore[assignment]  # its workers are no threads
    del executors, threads


async def asyncio_gets_outcomes_of_processes(pool: ProcessPool) -> None:
    assert_type(await pool.submit(resize, "a.png", 64), bytes)
    assert_type(pool.run(resize, "a.png", 64), asyncio.Future[bytes])
    assert_type(await asyncio.get_running_loop().run_in_executor(pool, len, "a"), int)
    assert_type([size async for size in pool.amap(len, ["a"])], list[int])

    await pool.run(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text


# Threads, from asyncio.


async def asyncio_gets_outcomes(pool: ThreadPool, view: PoolView, group: Group, subpool: SubPool) -> None:
    assert_type(await pool.submit(resize, "a.png", 64), bytes)
    assert_type(pool.run(resize, "a.png", 64), asyncio.Future[bytes])
    assert_type(await view.run(resize, "a.png", 64, crop=True), bytes)
    assert_type(await group.run(resize, "a.png", 64), bytes)
    assert_type(await subpool.run(len, "abc"), int)
    assert_type(await asyncio.gather(pool.run(len, "a"), pool.run(resize, "a.png", 64)), tuple[int, bytes])
    assert_type(await asyncio.get_running_loop().run_in_executor(view, len, "a"), int)
    assert_type([size async for size in pool.amap(len, ["a"])], list[int])
    assert_type([size async for size in view.amap(str, count(), buffersize=5)], list[str])
    async with pool.group() as calls:
        assert_type(calls, Group)

    await pool.run(resize, "a.png", "64")  # type: ignore[arg-type]  # the width is no text
    await view.run(resize, "a.png")  # type: ignore[call-arg]  # the width is missing
    await group.run(resize, "a.png", 64, True)  # type: ignore[call-arg]  # crop goes by its name
    future = pool.submit(len, "abc")
    text: str = await future  # type: ignore[assignment]  # a length is a number
    iter(pool.amap(len, ["a"]))  # type: ignore[call-overload]  # it is for `async for`
    del text


# Coroutines: what is promised is what the function returns when it is awaited.


def coroutines_are_promised_awaited(pool: CoroutinePool, account: Account) -> None:
    view = pool.with_options(timeout=5)
    group = pool.group(total_timeout=5)

    assert_type(view, CoroutineView)
    assert_type(group, CoroutineGroup)
    assert_type(view.with_options(priority=1).group(), CoroutineGroup)
    assert_type(group.with_options(priority=1), CoroutineView)
    assert_type(pool.submit(fetch, "/", retries=3), Future[bytes])
    assert_type(view.submit(fetch, "/"), Future[bytes])
    assert_type(group.submit(fetch, "/"), Future[bytes])
    assert_type(group.with_options(priority=1).submit(fetch, "/").result(), bytes)
    assert_type(pool.submit(account.check, 100), Future[float])
    assert_type(pool.submit(partial(fetch, retries=3), "/"), Future[bytes])
    assert_type(pool.map(fetch, ["/"]), Iterator[bytes])
    assert_type(list(view.map(fetch, ["/"])), list[bytes])
    assert_type(next(group.map(fetch, ["/"])), bytes)

    pool.submit(fetch, 80)  # type: ignore[arg-type]  # an address is a text
    view.submit(fetch, 80)  # type: ignore[arg-type]  # an address is a text
    group.submit(fetch, 80)  # type: ignore[arg-type]  # an address is a text
    pool.submit(fetch)  # type: ignore[call-arg]  # which address?
    view.submit(fetch, "/", 3)  # type: ignore[call-arg]  # retries go by their name
    pool.submit(fetch, "/", timeout=5)  # type: ignore[call-arg]  # that is for with_options; fetch has no timeout


def only_async_functions_become_coroutines(pool: CoroutinePool, view: CoroutineView, group: CoroutineGroup) -> None:
    pool.submit(resize, "a.png", 64)  # type: ignore[arg-type]  # not async
    view.submit(resize, "a.png", 64)  # type: ignore[arg-type]  # not async
    group.submit(resize, "a.png", 64)  # type: ignore[arg-type]  # not async
    pool.map(len, ["a"])  # type: ignore[arg-type]  # not async
    view.map(len, ["a"])  # type: ignore[arg-type]  # not async
    pool.amap(len, ["a"])  # type: ignore[arg-type]  # not async
    pool.run(len, "a")  # type: ignore[arg-type]  # not async
    pool.submit(fetch("/"))  # type: ignore[arg-type]  # the function, not its coroutine
    pool.submit(count)  # type: ignore[arg-type]  # an async generator is not awaited


async def coroutines_from_asyncio(view: CoroutineView) -> None:
    async with CoroutinePool(50) as pool, pool.group() as group:
        assert_type(pool, CoroutinePool)
        assert_type(group, CoroutineGroup)
        assert_type(await pool.submit(fetch, "/"), bytes)
        assert_type(pool.run(fetch, "/"), asyncio.Future[bytes])
        assert_type(await view.run(fetch, "/", retries=3), bytes)
        assert_type(await group.run(fetch, "/"), bytes)
        assert_type([page async for page in pool.amap(fetch, ["/"])], list[bytes])
        assert_type([page async for page in view.amap(fetch, ["/"], ordered=False)], list[bytes])

        await group.run(fetch, 80)  # type: ignore[arg-type]  # an address is a text
        future = pool.submit(fetch, "/")
        text: str = await future  # type: ignore[assignment]  # a page is bytes
        del text


def a_pool_of_coroutines_stands_where_executors_are_wanted(pool: CoroutinePool) -> None:
    executors: list[Executor] = [pool, pool.with_options(priority=1), pool.group()]
    views: list[PoolView] = [pool.with_options(priority=1)]
    with CoroutinePool() as entered:
        assert_type(entered, CoroutinePool)
    del executors, views
