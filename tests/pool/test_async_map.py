from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from millhand import PoolClosed, QueueFull, ThreadPool
from millhand.core.errors import TaskCancelled
from millhand.pool import async_map
from millhand.pool.async_map import Arrivals
from millhand.pool.current import check_cancelled
from tests.pool.gate import Gate


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 15))


class Counted:
    """Counts what is read from it."""

    def __init__(self, items: Iterator[int]) -> None:
        self.read, self._items = 0, items

    def __iter__(self) -> Iterator[int]:
        for item in self._items:
            self.read += 1
            yield item


async def numbers(n: int | None = None) -> AsyncIterator[int]:
    for number in itertools.count() if n is None else range(n):
        await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_all_values_come_once(ordered: bool, size: int) -> None:
    async def main() -> list[int]:
        with ThreadPool(3, queue_size=size) as pool:
            return [value async for value in pool.amap(int, range(500), ordered=ordered)]

    values = run(main)
    assert (values if ordered else sorted(values)) == list(range(500))


@pytest.mark.parametrize("ordered", [True, False])
def test_an_async_source_is_mapped(ordered: bool) -> None:
    async def main() -> list[int]:
        with ThreadPool(2, queue_size=3) as pool:
            return sorted([value async for value in pool.amap(int, numbers(50), ordered=ordered)])

    assert run(main) == list(range(50))


def test_several_sources_are_zipped_to_the_shortest() -> None:
    async def main() -> list[int]:
        with ThreadPool(2) as pool:
            return [value async for value in pool.amap(pow, itertools.count(), [2] * 4)]

    assert run(main) == [0, 1, 4, 9]


@pytest.mark.parametrize("sources", [[], [()]])
def test_without_items_nothing_comes(sources: list[Any]) -> None:
    async def main() -> list[int]:
        with ThreadPool(1) as pool:
            return [value async for value in pool.amap(int, *sources)]

    assert run(main) == []


def test_an_endless_source_is_read_no_further_than_there_is_room() -> None:
    async def main() -> list[int]:
        source = Counted(itertools.count())
        reads = []
        with ThreadPool(2) as pool:
            values = pool.amap(int, source, buffersize=10)
            before = source.read
            async for value in values:
                reads.append(source.read - value)
                if value == 100:
                    break
            await values.aclose()
        return [before, max(reads)]

    before, ahead = run(main)
    assert before == 0
    assert ahead <= 11


def test_values_come_as_calls_end_if_they_need_not_be_ordered() -> None:
    async def main() -> list[int]:
        first = threading.Event()
        with ThreadPool(2) as pool:
            values = pool.amap(lambda n: (n == 0 and first.wait(10)) or n, range(3), ordered=False)
            seen = [await anext(values), await anext(values)]
            first.set()
            return [*seen, await anext(values)]

    assert run(main) == [1, 2, True]


def test_an_error_is_raised_where_its_item_stands_and_the_rest_is_cancelled() -> None:
    calls: list[int] = []

    def work(n: int) -> int:
        calls.append(n)
        return 6 // (2 - n)

    async def main() -> Any:
        source = Counted(itertools.count())
        with ThreadPool(1) as pool:
            values = pool.amap(work, source, buffersize=4)
            seen = [await anext(values), await anext(values)]
            with pytest.raises(ZeroDivisionError):
                await anext(values)
            with pytest.raises(StopAsyncIteration):
                await anext(values)
        return seen, source.read, pool.stats()

    seen, read, stats = run(main)
    assert seen == [3, 6]
    assert read <= 6
    assert stats.waiting == stats.running == 0
    assert stats.submitted == stats.done + stats.failed + stats.cancelled


def test_an_error_of_the_source_is_raised_behind_what_came_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("source")

    async def main() -> list[object]:
        with ThreadPool(1) as pool:
            values = pool.amap(int, source())
            seen = [await anext(values), await anext(values)]
            with pytest.raises(LookupError, match="source"):
                await anext(values)
            return seen

    assert run(main) == [1, 2]


def test_an_error_of_an_async_source_is_raised_behind_what_came_before_it() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise LookupError("source")

    async def main() -> int:
        with ThreadPool(1) as pool:
            values = pool.amap(int, source())
            value = await anext(values)
            with pytest.raises(LookupError, match="source"):
                await anext(values)
            return value

    assert run(main) == 1


@pytest.mark.parametrize("how", ["close", "drop"])
def test_when_the_consumer_stops_nothing_is_left_waiting_and_what_runs_is_asked_to_stop(how: str) -> None:
    entered, stopped = threading.Event(), threading.Event()

    def work(n: int) -> int:
        if n == 1:
            entered.set()
            try:
                while True:
                    check_cancelled()
            except TaskCancelled:
                stopped.set()
                raise
        return n

    async def main() -> Any:
        with ThreadPool(1) as pool:
            values = pool.amap(work, itertools.count(), buffersize=5)
            await anext(values)
            await asyncio.to_thread(entered.wait, 5)
            if how == "close":
                await values.aclose()
            else:
                del values
                gc.collect()
            await asyncio.to_thread(stopped.wait, 5)
        return stopped.is_set(), pool.stats()

    asked, stats = run(main)
    assert asked
    assert (stats.done, stats.waiting, stats.running) == (1, 0, 0)


def test_a_cancelled_consumer_that_drops_the_iterator_leaves_nothing() -> None:
    async def main() -> Any:
        with ThreadPool(1) as pool:
            gate = Gate(pool)

            async def consume() -> None:
                async for _ in pool.amap(int, itertools.count(), buffersize=5):
                    pass

            consumer = asyncio.ensure_future(consume())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            before = pool.stats().waiting
            consumer.cancel()
            await asyncio.wait([consumer])
            after = pool.stats().waiting
            del consumer
            gate.open()
            return before, after

    assert run(main) == (5, 0)


def test_a_consumer_whose_wait_was_cancelled_may_go_on() -> None:
    async def main() -> int:
        with ThreadPool(1) as pool:
            gate = Gate(pool)
            values = pool.amap(int, [7])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(values), 0.01)
            gate.open()
            return await anext(values)

    assert run(main) == 7


def test_a_close_ends_the_read_of_an_async_source() -> None:
    ended: list[str] = []

    async def source() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("source")

    async def main() -> None:
        with ThreadPool(1) as pool:
            values = pool.amap(int, source())
            await anext(values)
            await values.aclose()
            ended.append("closed")

    run(main)
    assert ended == ["source", "closed"]


def test_only_one_task_may_wait_for_the_next_value() -> None:
    async def main() -> None:
        with ThreadPool(1) as pool:
            gate = Gate(pool)
            values = pool.amap(int, [1])
            first = asyncio.ensure_future(anext(values))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            try:
                await anext(values)
            finally:
                gate.open()
                await first

    with pytest.raises(RuntimeError, match="another task waits"):
        run(main)


def test_a_refusal_is_raised_where_the_item_stands() -> None:
    async def main() -> Any:
        with ThreadPool(1, queue_size=1, when_full="reject") as pool:
            gate = Gate(pool)
            values = pool.amap(int, range(9))
            first = asyncio.ensure_future(anext(values))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gate.open()
            value = await first
            with pytest.raises(QueueFull):
                await anext(values)
            return value

    assert run(main) == 0


def test_a_shutdown_ends_a_map_that_waits_for_a_place() -> None:
    async def main() -> object:
        pool = ThreadPool(1, queue_size=1)
        gate = Gate(pool)
        waiting = pool.submit(int)
        values = pool.amap(int, range(9))
        first = asyncio.ensure_future(anext(values))
        await asyncio.sleep(0)
        pool.shutdown(wait=False)
        gate.open()
        with pytest.raises(PoolClosed):
            await first
        return await waiting

    assert run(main) == 0


def test_a_loop_is_not_held_up_by_values_that_are_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_map, "TURN", 1e-6)

    async def main() -> int:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticker = asyncio.ensure_future(tick())
        with ThreadPool(1) as pool:
            values = pool.amap(int, range(100), buffersize=100)
            values._fill()  # noqa: SLF001 - so that no value has to be waited for
            pool.submit(int).result()
            async for _ in values:
                pass
        ticker.cancel()
        return turns

    assert run(main) > 20  # without its turns, the loop has two or three


def test_a_map_without_a_place_for_its_first_item_gets_one_when_it_comes_free() -> None:
    async def main() -> list[int]:
        with ThreadPool(1, queue_size=1) as pool:
            gate = Gate(pool)
            waiting = pool.submit(int)
            values = pool.amap(int, [1, 2])
            first = asyncio.ensure_future(anext(values))
            await asyncio.sleep(0.01)
            before = first.done()
            gate.open()
            return [before, await first, await anext(values), await waiting]

    assert run(main) == [False, 1, 2, 0]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_call_that_ends_while_its_consumer_is_about_to_wait_is_seen(ordered: bool) -> None:
    """It ends after the consumer has looked, but before it has said that it waits."""

    class Late(Arrivals):
        __slots__ = ("armed",)

        def __setattr__(self, name: str, value: object) -> None:
            if name == "wanted" and value is not None and hasattr(self, "armed"):
                gate.open()
                value_of_second.result(5)  # and so the mapped call, which was submitted before it, has ended
            super().__setattr__(name, value)

    gate: Any = None
    value_of_second: Any = None

    async def main() -> int:
        nonlocal gate, value_of_second
        with ThreadPool(1) as pool:
            gate = Gate(pool)
            values = pool.amap(int, [3], ordered=ordered)
            late = Late(values._arrivals.call, ordered=ordered)  # noqa: SLF001 - the race is between two of its lines
            values._arrivals = late  # noqa: SLF001 - as above
            values._fill()  # noqa: SLF001 - as above
            value_of_second = pool.submit(int)
            late.armed = True  # type: ignore[attr-defined]  # of the class above
            return await anext(values)

    assert run(main) == 3


@pytest.mark.parametrize(("room", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.5, TypeError)])
def test_a_buffersize_is_a_whole_number_above_zero(room: Any, error: type[Exception]) -> None:
    async def main() -> None:
        with ThreadPool(1) as pool:
            pool.amap(int, [1], buffersize=room)

    with pytest.raises(error, match="buffersize"):
        run(main)


def test_an_async_source_stands_alone() -> None:
    async def main() -> None:
        with ThreadPool(1) as pool:
            pool.amap(pow, numbers(), [1])

    with pytest.raises(TypeError, match="only source"):
        run(main)


def test_a_worker_that_runs_a_loop_may_map_on_its_own_pool() -> None:
    with ThreadPool(1) as pool:

        async def inner() -> list[int]:
            return [value async for value in pool.amap(int, range(5))]

        assert pool.submit(lambda: asyncio.run(inner())).result(10) == list(range(5))
