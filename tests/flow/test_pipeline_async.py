from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from millhand import CoroutinePool, TaskCancelled, ThreadPool
from millhand.flow import Pipeline, StageError, stage
from tests.flow.conftest import Hold
from tests.flow.test_pipeline import SOON, Read, asked_to_stop, negate

ITEMS = list(range(300))


def run(body: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(body, 15))


async def later(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_it_gives_what_the_functions_give(pool: ThreadPool, ordered: bool, asynchronous: bool) -> None:
    async def main() -> list[int]:
        async with CoroutinePool(3) as loop:
            stages = stage(abs), stage(negate, pool=loop), stage(abs, pool=pool), stage(negate, pool=loop, workers=1)
            pipeline = Pipeline(*stages, ordered=ordered)
            return [result async for result in pipeline.arun(later(ITEMS) if asynchronous else ITEMS)]

    results = run(main())

    assert (results if ordered else sorted(results, reverse=True)) == [-n for n in ITEMS]


def test_one_form_serves_both_loops() -> None:
    async def main() -> list[str]:
        return [result async for result in later([1, 2]) | stage(abs) | stage(str)]

    assert run(main()) == ["1", "2"]
    with pytest.raises(TypeError, match="use `async for`"):
        next(later([1]) | stage(abs))


def test_the_loop_gets_its_turn_while_results_are_handed_out() -> None:
    async def main() -> int:
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count_turns())
        results = Pipeline(stage(abs)).arun(Read())
        async with results:
            async for result in results:
                if turns > 3 or result == 10**6:
                    break
        counting.cancel()
        return turns

    assert run(main()) > 3


def test_a_full_pool_is_waited_for_without_blocking_the_loop(hold: Hold) -> None:
    async def main() -> list[int]:
        with ThreadPool(1, queue_size=0) as full:
            full.submit(hold, 0)
            hold.wait_for(1)
            asyncio.get_running_loop().call_later(0.02, hold.let_go)
            return [result async for result in range(5) | stage(abs) | stage(abs, pool=full)]

    assert run(main()) == list(range(5))


def test_the_first_failure_ends_it_and_a_sink_lets_it_go_on() -> None:
    failed: list[int] = []

    async def main() -> list[int]:
        with pytest.raises(StageError, match="item 1, 'x'"):
            [result async for result in "1x3" | stage(int)]
        pipeline = Pipeline(stage(int), on_error=lambda error: failed.append(error.index))
        return [result async for result in pipeline.arun("1x3")]

    assert run(main()) == [1, 3]
    assert failed == [1]


def test_an_error_of_the_source_stands_behind_what_was_read_before() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("gone")

    async def main() -> int:
        results = broken() | stage(abs)
        first = await anext(results)
        with pytest.raises(OSError, match="gone"):
            await anext(results)
        return first

    assert run(main()) == 1


@pytest.mark.parametrize("way", ["break", "cancelled task", "cancel"])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_nothing_is_left_behind_however_it_ends(way: str, asynchronous: bool) -> None:
    begun, stopped = threading.Semaphore(0), threading.Semaphore(0)
    spin = asked_to_stop(begun, stopped)

    async def consume(results: Any) -> None:
        async with results:
            async for _ in results:
                assert await asyncio.to_thread(begun.acquire, timeout=SOON)
                break

    async def main() -> None:
        results = Pipeline(stage(lambda n: spin(n) if n != 5 else n, workers=2), ordered=False).arun(
            later([1, 5, 2]) if asynchronous else [1, 5, 2]
        )
        if way == "break":
            await consume(results)
            return
        results = Pipeline(stage(spin, workers=1)).arun(later([1, 2]) if asynchronous else [1, 2])
        task = asyncio.create_task(consume(results))
        assert await asyncio.to_thread(begun.acquire, timeout=SOON)
        if way == "cancel":
            results.cancel()
        else:
            task.cancel()
        with pytest.raises(TaskCancelled if way == "cancel" else asyncio.CancelledError):
            await task

    run(main())

    assert stopped.acquire(timeout=SOON)
    assert "lambda" not in str(threading.enumerate())


def test_drain_wakes_a_run_that_waits_for_an_async_source() -> None:
    async def main() -> list[int]:
        async def endless() -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

        results, taken = endless() | stage(abs), list[int]()
        async for result in results:
            taken.append(result)
            asyncio.get_running_loop().call_later(0.01, results.drain)
        return taken

    assert run(main()) == [1]


def test_a_run_is_begun_by_one_of_the_two_loops_only() -> None:
    async def main() -> None:
        results = [1, 2] | stage(abs)
        next(results)
        with pytest.raises(RuntimeError, match="the other of"):
            await anext(results)
        results.close()
        await ([1] | stage(abs)).aclose()

    run(main())
