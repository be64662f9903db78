from __future__ import annotations

import contextvars
import gc
import importlib
import io
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from millhand import PoolClosed, QueueFull, TaskTimeout, ThreadPool
from millhand.core.errors import TaskCancelled
from millhand.pool.current import check_cancelled
from tests.pool.gate import Gate

Pools = Callable[..., ThreadPool]
WAYS: dict[str, Callable[[ThreadPool], Any]] = {
    "carried": lambda pool: pool,
    "by-priority": lambda pool: pool.with_options(priority=1),
    "submitted": lambda pool: pool.with_options(timeout=60),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[ThreadPool], Any]:
    """Each way in which a map is done, as a door of a pool."""
    return WAYS[request.param]


class Read:
    """A source without an end that knows how far it was read, and by whom."""

    def __init__(self) -> None:
        self.items = 0
        self.threads: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[int]:
        while True:
            self.threads.add(threading.current_thread())
            self.items += 1
            yield self.items - 1


def adds_up(pool: Any) -> bool:
    stats = pool.stats()
    ends = stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.dropped + stats.refused
    return bool(stats.submitted == stats.waiting + stats.running + ends and stats.waiting >= 0 and stats.running >= 0)


# Results.


def test_results_come_in_the_order_of_their_items(make: Pools, way: Any) -> None:
    assert list(way(make(3)).map(pow, range(500), [2] * 900)) == [n * n for n in range(500)]


def test_without_an_iterable_there_is_nothing_to_do(make: Pools, way: Any) -> None:
    assert list(way(make(1)).map(int)) == []


def test_an_argument_that_is_no_iterable_is_refused_by_the_call(make: Pools, way: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        way(make(1)).map(int, 5)


def test_the_work_begins_with_the_call(make: Pools, way: Any) -> None:
    done: list[int] = []
    pool = make(2)

    way(pool).map(done.append, range(10))
    pool.shutdown()

    assert sorted(done) == list(range(10))


def test_unordered_results_come_as_calls_end(make: Pools, way: Any) -> None:
    held = threading.Event()

    def hold_the_first(n: int) -> int:
        return n if n else held.wait(5) - 1

    results = way(make(2)).map(hold_the_first, range(20), ordered=False)
    early = [next(results) for _ in range(19)]
    held.set()

    assert sorted(early) == list(range(1, 20))
    assert list(results) == [0]


def test_nothing_short_waits_behind_something_long(make: Pools) -> None:
    held, done = threading.Event(), threading.Semaphore(0)

    def work(n: int) -> None:
        held.wait(5) if n == 0 else done.release()

    results = make(2).map(work, range(100), chunksize=50)
    all_others_ended = all(done.acquire(timeout=5) for _ in range(99))
    held.set()

    assert all_others_ended
    assert len(list(results)) == 100


def test_a_result_is_not_kept_while_the_next_one_is_taken(make: Pools, way: Any) -> None:
    class Result:
        pass

    for result in way(make(1)).map(lambda _: Result(), range(5)):
        seen = weakref.ref(result)
        del result
        gc.collect()
        assert seen() is None


# The source.


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [1, 2, 7])
def test_an_endless_source_is_read_no_further_ahead_than_the_buffer(
    make: Pools, way: Any, buffersize: int, ordered: bool
) -> None:
    source = Read()
    results = way(make(2)).map(int, source, buffersize=buffersize, ordered=ordered)

    for taken in range(50):
        assert source.items == taken + buffersize if taken else source.items == buffersize
        next(results)

    assert source.threads == {threading.current_thread()}
    results.close()


def test_the_queue_bounds_a_map_that_was_given_no_buffer(make: Pools, way: Any) -> None:
    source = Read()

    results = way(make(2, queue_size=30)).map(int, source)

    assert [next(results) for _ in range(200)] == list(range(200))
    assert source.items <= 200 + 30
    results.close()


@pytest.mark.parametrize("buffersize", [0, -1])
def test_a_buffer_holds_at_least_one(make: Pools, buffersize: int) -> None:
    with pytest.raises(ValueError, match="buffersize must be at least 1"):
        make(1).map(int, [], buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [1.5, "2"])
def test_a_buffers_size_is_a_whole_number(make: Pools, buffersize: Any) -> None:
    with pytest.raises(TypeError, match="buffersize must be a whole number"):
        make(1).map(int, [], buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [None, 2])
def test_an_error_of_the_source_is_raised_behind_the_results_before_it(
    make: Pools, way: Any, buffersize: int | None
) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    taken: list[int] = []

    with pytest.raises(OSError, match="the disk is gone"):
        taken.extend(way(make(2)).map(int, source(), buffersize=buffersize))

    assert taken == list(range(5))


def test_a_long_map_keeps_no_more_items_than_its_buffer(make: Pools) -> None:
    class Item:
        pass

    living: weakref.WeakSet[Item] = weakref.WeakSet()
    most = 0

    def source() -> Iterator[Item]:
        for _ in range(5_000):
            item = Item()
            living.add(item)
            yield item

    for _ in make(2).map(id, source(), buffersize=20):
        most = max(most, len(living))

    assert most <= 20 + 2 + 2  # and one in the hands of each worker, of the source, and of its reader


# Errors, and ends.


def test_an_error_is_raised_where_its_item_stands_and_the_rest_is_cancelled(make: Pools, way: Any) -> None:
    ran: list[int] = []
    pool = make(1)

    def work(n: int) -> int:
        ran.append(n)
        return 6 // (3 - n)

    results = way(pool).map(work, count(), buffersize=2)

    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert caught.traceback[-1].name == "work"
    assert next(results, "over") == "over"
    pool.shutdown()
    assert len(ran) <= 3 + 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_an_item_ends_only_the_map(make: Pools, kind: type[BaseException]) -> None:
    def leave(_: int) -> None:
        raise kind

    pool = make(1)

    with pytest.raises(kind):
        list(pool.map(leave, [1]))
    assert list(pool.map(int, [1])) == [1]


@pytest.mark.parametrize(
    "stop", [lambda results: results.close(), lambda results: results.clear()], ids=["close", "drop"]
)
def test_when_the_consumer_stops_nothing_more_runs_and_what_runs_is_asked_to_stop(
    make: Pools, way: Any, stop: Any
) -> None:
    pool = make(1)
    running, asked, ran = threading.Event(), threading.Event(), []

    def work(n: int) -> None:
        ran.append(n)
        if n == 1:
            running.set()
            assert asked.wait(5)
            check_cancelled()
            ran.append("it went on")

    class Holder(list[Any]):
        def close(self) -> None:
            self[0].close()

    results = Holder([way(pool).map(work, range(100))])
    next(results[0])
    assert running.wait(5)
    stop(results)
    gc.collect()
    asked.set()
    pool.shutdown()

    assert ran == [0, 1]
    assert pool.stats().failed == 0
    assert adds_up(pool)


def test_an_item_that_ended_keeps_what_it_has_submitted(make: Pools) -> None:
    pool = make(2)
    gate = threading.Event()
    later: list[Any] = []

    assert list(pool.map(lambda n: later.append(pool.submit(gate.wait, 5)), [1])) == [None]
    gate.set()

    assert later[0].result(5)


def test_the_timeout_counts_from_the_call(make: Pools, way: Any) -> None:
    pool = make(1)
    gate = Gate(pool)

    results = way(pool).map(int, [1, 2], timeout=0.02)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()

    assert next(results, "over") == "over"


def test_what_was_read_before_the_end_of_the_pool_still_runs(make: Pools, way: Any) -> None:
    pool = make(1)
    results = way(pool).map(int, count(), buffersize=10)
    first = next(results)

    pool.shutdown()
    taken: list[int] = []
    with pytest.raises(PoolClosed):
        taken.extend(results)

    assert [first, *taken] == list(range(11))
    with pytest.raises(PoolClosed):
        way(pool).map(int, [1])


def test_an_end_that_cancels_what_waits_cancels_the_map(make: Pools, way: Any) -> None:
    pool = make(1)
    running, held = threading.Event(), threading.Event()

    def work(n: int) -> int:
        running.set()
        assert held.wait(5)
        return n

    results = way(pool).map(work, count(), buffersize=10)
    assert running.wait(5)
    pool.shutdown(wait=False, cancel_futures=True)
    held.set()

    assert next(results) == 0
    with pytest.raises(CancelledError):
        next(results)


def test_a_map_in_the_line_is_cancelled_with_what_waits(make: Pools, way: Any) -> None:
    pool = make(1)
    gate = Gate(pool)
    results = way(pool).map(int, [1])

    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()

    with pytest.raises(CancelledError):
        next(results)
    assert adds_up(pool)


def test_a_pool_that_breaks_fails_its_maps(make: Pools) -> None:
    def fail() -> None:
        assert broken.wait(5)
        raise OSError

    broken = threading.Event()
    pool = make(1, initializer=fail)
    results = pool.map(int, [1, 2])
    broken.set()

    with pytest.raises(BrokenExecutor):
        next(results)
    assert adds_up(pool)


def test_a_pool_that_nobody_holds_is_kept_until_its_source_is_read() -> None:
    pool = ThreadPool(1)
    seen = weakref.ref(pool)
    results = pool.map(int, iter(range(1_000)), buffersize=3)
    del pool

    assert list(results) == list(range(1_000))
    del results
    gc.collect()
    assert seen() is None


def test_maps_that_take_turns_end_though_nobody_holds_their_pool() -> None:
    pool = ThreadPool(1)
    gate = Gate(pool)
    longer_than_a_turn = threading.Event()
    both = [pool.map(lambda _: longer_than_a_turn.wait(0.006), range(5), timeout=5) for _ in range(2)]
    del pool
    gc.collect()
    gate.open()

    assert [list(results) for results in both] == [[False] * 5] * 2


# Beside other work.


def test_each_item_has_a_copy_of_the_callers_context(make: Pools, way: Any) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")

    def change(n: int) -> str:
        before = var.get()
        var.set(f"{before}{n}")
        return before

    var.set("caller")

    assert set(way(make(2)).map(change, range(50))) == {"caller"}
    assert var.get() == "caller"


def test_other_work_gets_its_turn_in_the_middle_of_a_long_map(make: Pools) -> None:
    pool = make(1)
    over = threading.Event()

    def items() -> Iterator[int]:
        while not over.is_set():
            yield 1

    taken = threading.Event()

    def consume() -> None:
        for _ in pool.map(int, items(), buffersize=1_000):
            taken.set()

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert taken.wait(5)
    try:
        assert pool.submit(int).result(5) == 0
    finally:
        over.set()
        consumer.join()


def test_a_pause_stops_a_map_between_two_items(make: Pools) -> None:
    pool = make(1)
    step, entered = threading.Semaphore(0), threading.Semaphore(0)

    def work(n: int) -> int:
        entered.release()
        assert step.acquire(timeout=5)
        return n

    results = pool.map(work, range(3))
    assert entered.acquire(timeout=5)
    pool.pause()
    step.release()
    first = next(results)
    began_in_the_pause = entered.acquire(timeout=0.05)
    pool.resume()
    step.release(2)

    assert [first, *results] == [0, 1, 2]
    assert not began_in_the_pause


def test_a_pool_that_shrinks_takes_the_workers_from_a_map(make: Pools) -> None:
    pool = make(3)
    over = threading.Event()
    results = pool.map(lambda _: over.wait(0.001), count(), buffersize=50)
    next(results)

    pool.resize(1)
    while pool.stats().workers > 1:
        next(results)

    results.close()
    assert pool.stats().workers == 1


@pytest.mark.slow
@pytest.mark.parametrize("grow", [lambda pool: pool.resize(3), lambda pool: None], ids=["resize", "elastic"])
def test_workers_that_a_pool_gets_come_to_a_map_that_is_under_way(make: Pools, grow: Any) -> None:
    pool = make((1, 3), idle_timeout=60)
    all_here = threading.Barrier(3)
    results = pool.map(lambda _: all_here.wait(10), range(3))

    grow(pool)

    assert sorted(results) == [0, 1, 2]


def test_a_map_inside_of_the_only_worker_ends(make: Pools, way: Any) -> None:
    pool = make(1)

    assert pool.submit(lambda: sum(way(pool).map(int, range(100)))).result(5) == 4950
    assert pool.submit(lambda: sum(way(pool).map(int, range(100), ordered=False, buffersize=3))).result(5) == 4950


def test_a_map_with_a_timeout_inside_of_the_only_worker_ends(make: Pools) -> None:
    pool = make(1)

    assert pool.submit(lambda: sum(pool.map(int, range(100), timeout=5))).result(5) == 4950


@pytest.mark.parametrize("depth", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_maps_inside_of_each_other_end_on_one_worker(make: Pools, way: Any, depth: int) -> None:
    pool = make(1)

    def dive(n: int) -> int:
        return 0 if n == 0 else 1 + next(way(pool).map(dive, [n - 1]))

    assert pool.submit(dive, depth).result(15) == depth


@pytest.mark.parametrize("workers", [1, 2])
def test_who_cancels_the_call_around_a_map_cancels_the_map(make: Pools, way: Any, workers: int) -> None:
    pool = make(workers)
    running, stopped, held = threading.Event(), threading.Event(), threading.Event()
    ran: list[int] = []

    def item(n: int) -> None:
        ran.append(n)
        running.set()
        assert held.wait(5)
        try:
            check_cancelled()
        except TaskCancelled:
            stopped.set()
            raise

    future: Any = pool.submit(lambda: list(way(pool).map(item, count(), buffersize=50)))
    assert running.wait(5)
    future.cancel(running=True)
    held.set()

    with pytest.raises(CancelledError):
        future.result(5)
    assert stopped.wait(5)
    assert len(ran) <= 2


def test_a_deadline_around_a_map_holds_for_its_items(make: Pools) -> None:
    pool = make(2)

    held = threading.Event()

    def around() -> None:
        list(pool.map(lambda _: held.wait(5), [1]))

    with pytest.raises(TaskTimeout):
        pool.with_options(total_timeout=0.05).submit(around).result(5)
    while pool.stats().timed_out < 2:  # they are struck one after the other
        held.wait(0.001)
    held.set()
    pool.shutdown()

    assert pool.stats().timed_out == 2


def test_a_limit_holds_for_each_item(make: Pools) -> None:
    held = threading.Event()
    results = make(1).with_options(timeout=0.05).map(lambda n: n and held.wait(5), range(9), buffersize=2)

    first = next(results)
    with pytest.raises(TaskTimeout):
        next(results)
    held.set()

    assert first == 0


def test_whoever_replaces_submit_sees_each_item(make: Pools) -> None:
    pool = make(1)
    seen: list[Any] = []
    original = pool.submit

    def spy(fn: Any, *args: Any) -> Any:
        seen.append(args)
        return original(fn, *args)

    pool.submit = spy  # type: ignore[method-assign, assignment]  # as tqdm does

    assert list(pool.map(int, range(3))) == [0, 1, 2]
    assert len(seen) == 3


def test_a_listener_is_told_of_each_item(make: Pools) -> None:
    pool = make(1)
    events: list[str] = []
    pool.listen(lambda event: events.append(type(event).__name__))

    list(pool.map(int, range(3)))

    assert events.count("TaskStarted") == 3


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_lowest", "reject", "drop_newest"])
def test_a_map_lives_through_a_crowd_that_has_things_dropped(make: Pools, policy: Any) -> None:
    pool = make(1, queue_size=4, when_full=policy)
    gate = Gate(pool)

    results = pool.map(int, range(4))
    for _ in range(20):
        with suppress(QueueFull):
            pool.submit(int)
    gate.open()

    assert list(results) == list(range(4))
    assert adds_up(pool)


# What is to be seen.


def test_items_are_counted_as_calls(make: Pools, way: Any) -> None:
    pool = make(2)

    list(way(pool).map(int, range(900)))  # so few are all measured
    with pytest.raises(ValueError, match="invalid literal"):
        list(way(pool).map(int, ["x"]))
    stats = pool.stats()

    assert (stats.submitted, stats.done, stats.failed) == (901, 900, 1)
    assert stats.run_time.count == stats.total_time.count == 901
    assert "int" in {slow.name for slow in stats.slowest}


@pytest.mark.slow
def test_the_counts_add_up_at_every_moment(make: Pools) -> None:
    pool = make(3)
    over, wrong = threading.Event(), []

    def look() -> None:
        while not over.is_set():
            if not adds_up(pool):
                wrong.append(pool.stats())

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(20):
        list(pool.map(int, range(3_000), buffersize=100))
    over.set()
    looker.join()

    assert not wrong


def test_the_table_of_workers_names_the_function(make: Pools) -> None:
    pool = make(1)
    held, entered = threading.Event(), threading.Event()

    def grind(_: int) -> None:
        entered.set()
        held.wait(5)

    results = pool.map(grind, [1])
    assert entered.wait(5)
    names = [worker.task for worker in pool.stats().table]
    held.set()
    list(results)

    assert [name.rpartition(".")[2] for name in names] == ["grind"]


# Races.


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [1, 3])
def test_a_carrier_that_goes_home_and_an_item_that_comes_do_not_miss_each_other(
    make: Pools, buffersize: int, ordered: bool
) -> None:
    pool = make(3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert sorted(pool.map(int, range(5_000), buffersize=buffersize, ordered=ordered)) == list(range(5_000))
    finally:
        sys.setswitchinterval(interval)


# The bar.


def test_a_bar_is_drawn_by_what_is_installed(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stderr", drawn)

    assert list(make(1).map(int, range(20), progress=True)) == list(range(20))
    assert "100%" in drawn.getvalue()


def test_tqdm_draws_where_rich_is_missing(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stderr", drawn)
    monkeypatch.setitem(sys.modules, "rich.progress", None)

    assert list(make(1).map(int, range(20), progress=True)) == list(range(20))
    assert "20/20" in drawn.getvalue()


def test_without_either_the_error_names_both(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rich.progress", "tqdm"):
        monkeypatch.setitem(sys.modules, name, None)

    ran: list[int] = []
    pool = make(1)

    with pytest.raises(ImportError, match="pip install rich, or tqdm"):
        pool.map(ran.append, [1], progress=True)

    pool.shutdown()
    assert not ran


def test_who_stops_under_a_bar_stops_the_map(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    source = Read()
    results: Any = make(1).map(int, source, buffersize=5, progress=True)
    next(results)

    results.close()

    assert source.items == 6
    assert isinstance(importlib.import_module("rich.progress"), types.ModuleType)
