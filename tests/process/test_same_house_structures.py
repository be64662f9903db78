"""A pool of processes keeps every promise that the pool of threads makes: groups, sub-pools, `map`, and asyncio."""

# ruff: noqa: PT012 - it is the leaving of a group's body that raises, so the body stands in the block

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from millhand import PoolClosed, QueueFull, TaskTimeout
from tests.pool.gate import Aside, lost
from tests.process.house import (
    KINDS,
    Gate,
    Pools,
    eventually,
    fail,
    fail_at,
    gating,
    heeding,
    making,
    note,
    note_item,
    noted,
)

pytestmark = pytest.mark.slow
Gates = Callable[[], Gate]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Pools]:
    with making(request.param) as make:
        yield make


@pytest.fixture
def gates(make: Pools, tmp_path: Path) -> Iterator[Gates]:
    with gating(tmp_path) as gates:
        yield gates


class Read:
    """A source without an end that knows how far it was read."""

    def __init__(self) -> None:
        self.items = 0

    def __iter__(self) -> Iterator[int]:
        for self.items in count(1):
            yield self.items - 1


# Groups.


def test_leaving_a_group_waits_until_nothing_of_it_waits_or_runs(make: Pools, gates: Gates) -> None:
    gate = gates()

    with make(1).group() as group:
        [held] = gate.hold(group)
        waiting = [group.submit(pow, 2, n) for n in range(50)]
        threading.Timer(0.01, gate.open).start()

    assert held.result(0) == 0
    assert [future.result(0) for future in waiting] == [2**n for n in range(50)]


def test_a_call_that_fails_ends_its_group_what_waits_and_what_runs(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(2), gates(), tmp_path / "log"

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        running = group.submit(heeding(gate))
        gate.await_calls()
        group.submit(fail, LookupError("no"))
        late = [group.submit(note, str(log), "late") for _ in range(20)]

    assert [error.args for error in caught.value.exceptions] == [("no",)]
    assert running.cancelled()
    assert all(future.done() for future in late)
    assert pool.submit(int, "7").result(10) == 7


def test_an_error_in_the_body_cancels_the_group(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(1), gates(), tmp_path / "log"

    with pytest.raises(LookupError), pool.group() as group:
        running = group.submit(heeding(gate))
        gate.await_calls()
        waiting = group.submit(note, str(log), "late")
        raise LookupError("body")

    assert (running.cancelled(), waiting.cancelled(), noted(log)) == (True, True, "")


def test_a_groups_time_ends_what_waits_and_what_runs(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    assert pool.submit(int).result(10) == 0  # there is a process

    with pytest.raises(ExceptionGroup) as caught, pool.group(total_timeout=0.2) as group:
        futures = [group.submit(gate.wait), group.submit(int)]

    assert {type(error) for error in caught.value.exceptions} == {TaskTimeout}
    assert [type(future.exception(0)) for future in futures] == [TaskTimeout] * 2


def test_a_group_in_a_group_ends_with_it(make: Pools, gates: Gates) -> None:
    pool, gate = make(2), gates()

    with pytest.raises(ExceptionGroup), pool.group() as outer, outer.group() as inner:
        running = inner.submit(heeding(gate))
        gate.await_calls()
        outer.submit(fail, LookupError())

    with pytest.raises(CancelledError):
        running.result(10)


def test_a_group_of_asyncio_ends_its_body_when_a_call_fails(make: Pools, gates: Gates) -> None:
    pool, gate = make(2), gates()

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with pool.group() as group:
                running = group.submit(heeding(gate))
                gate.await_calls()
                group.submit(fail, LookupError("no"))
                await asyncio.sleep(20)  # it is woken
        assert [type(error) for error in caught.value.exceptions] == [LookupError]
        assert running.cancelled()

    asyncio.run(main())


# Sub-pools.


def test_a_subpool_borrows_no_more_workers_than_it_may(make: Pools, gates: Gates) -> None:
    pool, gate = make(2), gates()
    subpool = pool.subpool(1)
    gate.hold(subpool)
    behind = subpool.submit(int, "7")

    assert pool.submit(int, "8").result(10) == 8
    assert not behind.done()
    gate.open()
    assert behind.result(10) == 7


def test_a_subpool_has_a_queue_an_order_and_counts_of_its_own(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(1), gates(), tmp_path / "log"
    subpool = pool.subpool(1, queue_size=3, when_full="reject", order="lifo")
    gate.hold(subpool)
    futures = [subpool.submit(note, str(log), str(n)) for n in range(3)]

    with pytest.raises(QueueFull):
        subpool.submit(int)
    gate.open()
    assert [future.result(10) for future in futures] == list("012")

    assert noted(log) == "2 1 0"
    assert eventually(lambda: subpool.stats().done == 4)
    assert (subpool.stats().refused, pool.stats().refused) == (1, 0)
    assert lost(subpool.stats()) == 0


def test_a_subpool_maps_and_ends_by_itself(make: Pools) -> None:
    pool = make(2)
    with pool.subpool(1) as outer, outer.subpool(1) as inner:
        assert list(outer.map(pow, range(300), [2] * 300)) == [n * n for n in range(300)]
        assert list(inner.map(pow, range(300), [2] * 300)) == [n * n for n in range(300)]

    with pytest.raises(PoolClosed):
        outer.submit(int)
    assert pool.submit(int, "7").result(10) == 7


def test_a_call_of_a_subpool_is_stopped_when_it_overstays(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    subpool = pool.subpool(1)

    future = subpool.with_options(timeout=0.05).submit(gate.wait)

    assert isinstance(future.exception(10), TaskTimeout)
    assert subpool.submit(int, "7").result(10) == 7
    assert pool.submit(int, "8").result(10) == 8


# Map.


@pytest.mark.parametrize("way", [{}, {"priority": 1}, {"timeout": 60}], ids=["carried", "by-priority", "submitted"])
def test_results_come_in_the_order_of_their_items(make: Pools, way: Any) -> None:
    pool = make(2)
    door = pool.with_options(**way) if way else pool

    assert list(door.map(pow, range(3_000), [2] * 9_000)) == [n * n for n in range(3_000)]
    assert list(door.map(str, [])) == []
    assert list(door.map(str, range(5), chunksize=3)) == list("01234")
    assert lost(pool.stats()) == 0


def test_unordered_results_come_as_calls_end(make: Pools, gates: Gates) -> None:
    pool, gate = make(2), gates()

    results = pool.map(partial(wait_at_zero, gate.wait), range(100), ordered=False)
    early = sorted(islice(results, 99))
    gate.open()

    assert early == list(range(1, 100))
    assert list(results) == [0]


def wait_at_zero(wait: Callable[[int], Any], item: int) -> Any:
    return wait(item) if item == 0 else item


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [1, 7, 100])
def test_an_endless_source_is_read_no_further_ahead_than_the_buffer(
    make: Pools, buffersize: int, ordered: bool
) -> None:
    source = Read()

    with closing(make(2).map(int, source, buffersize=buffersize, ordered=ordered)) as results:
        ahead = [source.items - taken for taken, _ in enumerate(islice(results, 500), 1)]

    # What is taken counts as soon as the iterator hands it out; in unordered ones, and in bulk, a little later.
    assert max(ahead) <= buffersize


def test_leaving_a_loop_over_a_map_cancels_the_rest(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, log = make(1), tmp_path / "log"

    for item in pool.map(partial(note_item, str(log)), count(), buffersize=10):
        if item == 20:
            break
    else:
        pytest.fail("it has an end")

    del item
    assert pool.submit(int, "7").result(10) == 7
    assert len(noted(log).split()) <= 21 + 10
    assert eventually(lambda: pool.stats().running == 0)
    assert lost(pool.stats()) == 0


def test_an_error_of_an_item_is_raised_where_it_stands(make: Pools) -> None:
    pool = make(2)
    results, seen = pool.map(partial(fail_at, 150), count()), list[int]()

    with pytest.raises(LookupError) as caught:
        seen.extend(iter(results.__next__, None))

    assert (caught.value.args, seen) == ((150,), list(range(150)))
    assert next(results, "over") == "over"
    assert pool.submit(int, "7").result(10) == 7


def test_an_error_of_the_source_is_raised_behind_the_results_before_it(make: Pools) -> None:
    def source() -> Iterator[int]:
        yield from range(30)
        raise LookupError("source")

    seen: list[int] = []
    results = make(2).map(int, source())

    with pytest.raises(LookupError, match="source"):
        seen.extend(iter(results.__next__, None))

    assert seen == list(range(30))


def test_a_map_has_its_timeout_from_the_call_on(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    results = pool.map(partial(wait_at_zero, gate.wait), range(3), timeout=0.1)

    with pytest.raises(TimeoutError):
        next(results)


def test_a_map_goes_on_after_the_shutdown_with_what_it_has_read(make: Pools) -> None:
    pool = make(2)
    results = pool.map(int, range(200))

    pool.shutdown()

    assert list(results) == list(range(200))


def test_many_maps_at_once_keep_their_results_apart(make: Pools) -> None:
    pool = make(2)
    maps = [pool.map(pow, range(n, n + 200), [2] * 200, buffersize=9) for n in range(5)]

    assert [list(results) for results in maps] == [[item**2 for item in range(n, n + 200)] for n in range(5)]
    assert lost(pool.stats()) == 0


# From asyncio.


def test_awaiting_hundreds_of_calls_keeps_them_apart(make: Pools) -> None:
    pool = make(2)

    async def main() -> Any:
        with pytest.raises(LookupError):
            await pool.run(fail, LookupError())
        return await asyncio.gather(*(pool.run(pow, n, 2) for n in range(300)))

    assert asyncio.run(main()) == [n * n for n in range(300)]


def test_awaiting_a_place_in_a_full_queue_does_not_block_the_loop(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=1), gates()
    gate.hold(pool)

    async def main() -> Any:
        calls = [pool.run(int, str(n)) for n in range(20)]
        await asyncio.sleep(0)
        assert pool.stats().waiting == 1
        gate.open()
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(20))


def test_cancelling_an_await_stops_the_call(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()

    async def main() -> None:
        call = pool.run(heeding(gate))
        gate.await_calls()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await pool.run(int, "7") == 7

    asyncio.run(main())
    assert pool.stats().cancelled == 1


@pytest.mark.parametrize("queue_size", [1, 1_000])
def test_an_endless_async_source_is_read_as_far_as_there_is_room(make: Pools, queue_size: int) -> None:
    pool, read = make(2, queue_size=queue_size), list[int]()

    async def source() -> AsyncIterator[int]:
        for n in count():
            read.append(n)
            yield n

    async def main() -> Any:
        values = pool.amap(str, source(), buffersize=5)
        seen = []
        async for value in values:
            seen.append(int(value))
            if len(seen) == 200:
                break
        await values.aclose()
        return seen

    assert asyncio.run(main()) == list(range(200))
    assert len(read) <= 200 + 5


def test_an_error_in_an_amap_is_raised_where_its_item_stands(make: Pools) -> None:
    pool = make(2)

    async def main() -> Any:
        seen = []
        with pytest.raises(LookupError):
            async for value in pool.amap(partial(fail_at, 50), range(100)):
                seen.append(value)  # noqa: PERF401 - it ends by an error
        return seen

    assert asyncio.run(main()) == list(range(50))
    assert pool.submit(int, "7").result(10) == 7


def test_a_blocked_submit_gives_way_to_nobody_it_does_not_have_to(make: Pools, gates: Gates) -> None:
    """The queue is of all doors: a map stands in it as one, and a blocked submit gets its place beside one."""
    pool, gate = make(1, queue_size=1), gates()
    gate.hold(pool)
    results = pool.map(int, range(50))
    blocked = Aside(lambda: [pool.submit(int, str(n)).result(10) for n in range(5)])

    gate.open()

    assert list(results) == list(range(50))
    assert blocked.outcome() == list(range(5))
