from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand import CoroutinePool, PoolClosed, TaskCancelled, TaskTimeout, ThreadPool, check_cancelled
from millhand.flow import Pipeline, StageError, stage
from millhand.flow.errands import ThreadStation
from millhand.flow.station import PoolStation
from tests.flow.conftest import Hold
from tests.pool.gate import press_ctrl_c

SOON = 5.0


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


async def negate(value: int) -> int:
    return -value


def until(condition: Callable[[], bool]) -> None:
    """Wait until something that another thread is about to do is done."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        threading.Event().wait(0.001)


def asked_to_stop(begun: threading.Semaphore, stopped: threading.Semaphore) -> Callable[[object], None]:
    """Return a call that runs until it is asked to stop."""

    def call(_: object) -> None:
        begun.release()
        try:
            while True:
                check_cancelled()
        finally:
            stopped.release()

    return call


# What it gives.


def test_an_item_goes_through_all_stages_in_order() -> None:
    results = ["1", "-2", "3"] | stage(int) | stage(abs, workers=2) | stage(str)

    assert list(results) == ["1", "2", "3"]


def test_stages_make_a_pipeline_that_runs_over_any_number_of_sources(pool: ThreadPool) -> None:
    pipeline = stage(int) | stage(abs, pool=pool)

    assert list(pipeline.run(["-1"])) == list(["-1"] | pipeline) == [1]
    assert list(Pipeline(stage(int), stage(abs)).run(())) == []


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-3, 3), max_size=60), st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_it_gives_what_the_functions_give_one_after_the_other(
    items: list[int], workers: int, room: int, ordered: bool
) -> None:
    failed: list[StageError] = []
    stages = (
        stage(lambda n: 6 // n, workers=workers, name="divide"),
        stage(lambda n: 2 * n),
        stage(lambda n: 1 / (n - 4)),
    )
    pipeline = Pipeline(*stages, ordered=ordered, on_error=failed.append, buffersize=room)
    expected = [1 / (2 * (6 // n) - 4) for n in items if n not in (0, 3)]

    results = list(pipeline.run(items))

    assert (results if ordered else sorted(results)) == (expected if ordered else sorted(expected))
    assert sorted(error.index for error in failed) == [at for at, n in enumerate(items) if n in (0, 3)]


def test_without_order_results_come_as_they_come_out(hold: Hold) -> None:
    results = Pipeline(stage(lambda n: hold(n) if n == 0 else n, workers=2), ordered=False).run(range(20))

    early = [next(results) for _ in range(19)]
    hold.let_go()

    assert sorted(early) == list(range(1, 20))
    assert list(results) == [0]


def test_nothing_short_waits_behind_something_long(hold: Hold) -> None:
    results = Pipeline(stage(lambda n: hold(n) if n == 0 else n, workers=2)).run(range(100))
    taking = threading.Thread(target=list, args=(results,))
    taking.start()

    until(lambda: results.stats()[0].passed == 99)
    hold.let_go()
    taking.join(SOON)


def test_as_many_calls_of_a_stage_run_as_it_has_workers(hold: Hold) -> None:
    results = range(9) | stage(hold, workers=3) | stage(str)
    taking = threading.Thread(target=list, args=(results,))
    taking.start()

    hold.wait_for(3)
    until(lambda: results.stats()[0].running == 3)
    assert not hold.begun.acquire(timeout=0.02)
    hold.let_go()
    taking.join(SOON)


@pytest.mark.parametrize("workers", [None, 1])
def test_each_kind_of_pool_can_do_a_stage(pool: ThreadPool, workers: int | None) -> None:
    with CoroutinePool(3) as loop:
        doors: list[Any] = [pool, pool.with_options(timeout=60), pool.subpool(2), pool.with_options(priority=1)]
        for door in doors:
            assert list(range(50) | stage(abs, pool=door, workers=workers) | stage(negate, pool=loop)) == [
                -n for n in range(50)
            ]


def test_a_result_is_not_kept_while_the_next_one_is_taken() -> None:
    class Result:
        pass

    for result in range(5) | stage(lambda _: Result()) | stage(lambda each: each, workers=1):
        seen = weakref.ref(result)
        del result
        gc.collect()
        assert seen() is None


def test_a_pipeline_may_be_run_by_the_calls_of_the_pool_that_it_uses() -> None:
    with ThreadPool(2) as pool:

        def total() -> int:
            return sum(range(100) | stage(abs, pool=pool) | stage(abs, pool=pool.with_options(priority=1)))

        totals = [pool.submit(total) for _ in range(6)]

        assert [each.result(SOON) for each in totals] == [4950] * 6


def test_a_stage_gives_its_worker_back_to_others_of_the_pool() -> None:
    other = threading.Event()
    with ThreadPool(1) as pool:

        def work(n: int) -> int:
            if n == 1:
                pool.with_options().submit(other.set)
            return 0 if n < 2 else other.wait(0.001)

        results = Pipeline(stage(work, pool=pool)).run(takewhile(lambda _: not other.is_set(), count()))

        assert list(results)[-1] is True


def test_a_stage_keeps_its_worker_where_a_full_pool_has_no_place_to_queue_again() -> None:
    with ThreadPool(1, queue_size=0) as pool:
        assert len(list(range(20) | stage(lambda _: threading.Event().wait(0.001), pool=pool))) == 20


# The bound.


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("room", [1, 2, 7])
def test_the_source_is_read_no_further_ahead_than_the_buffer_and_only_by_the_consumer(ordered: bool, room: int) -> None:
    source = Read()
    results = Pipeline(stage(abs), stage(abs, workers=1), ordered=ordered, buffersize=room).run(source)

    for taken in range(1, 50):
        next(results)
        assert source.items <= taken + room

    assert source.threads == {threading.current_thread()}
    results.close()


def test_a_slow_last_stage_stops_the_reading_of_the_source(hold: Hold) -> None:
    source = Read()
    results = Pipeline(stage(abs), stage(hold, workers=2), buffersize=10).run(source)
    taking = threading.Thread(target=lambda: next(results))
    taking.start()

    until(lambda: results.stats()[0].passed == 10)
    hold.wait_for(2)

    assert source.items == 10
    until(lambda: [(e.received, e.waiting, e.running) for e in results.stats()] == [(10, 0, 0), (10, 8, 2)])
    hold.let_go()
    taking.join(SOON)
    results.close()


def test_a_result_that_is_there_does_not_wait_until_there_is_no_room() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for read in range(1, 1000):
            if read > 1:
                until(lambda n=read - 1: results.stats()[0].passed >= n)  # type: ignore[misc]  # mypy infers no default
            yield read

    results = Pipeline(stage(abs, workers=1)).run(source())

    assert next(results) == 1
    assert read <= 4
    results.close()


# Failures.


def test_the_first_failure_ends_the_run_where_its_result_would_have_come_and_names_stage_and_item() -> None:
    results = ["1", "2", "x", "4", "y"] | stage(str.strip) | stage(int)

    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(StageError, match=r"stage int failed with item 2, 'x': ValueError: invalid literal") as raised:
        next(results)

    assert (raised.value.stage, raised.value.item, raised.value.index) == ("int", "x", 2)
    assert isinstance(raised.value.__cause__, ValueError)
    assert list(results) == []


@pytest.mark.parametrize("way", ["own", "view"])
def test_a_sink_gets_the_failures_in_their_place_and_the_run_goes_on(pool: ThreadPool, way: str) -> None:
    seen: list[object] = []
    door = None if way == "own" else pool.with_options(timeout=60)
    pipeline = Pipeline(stage(int, pool=door), on_error=lambda error: seen.append(error.item))

    seen.extend(pipeline.run(["1", "x", "3", "y"]))

    assert seen == [1, "x", 3, "y"]


def test_what_a_sink_raises_ends_the_run() -> None:
    def refuse(error: StageError) -> None:
        raise LookupError(error.item)

    with pytest.raises(LookupError, match="x"):
        list(Pipeline(stage(int), on_error=refuse).run("1x3"))


def test_an_item_that_overstays_the_limit_of_its_pool_fails_alone(pool: ThreadPool, hold: Hold) -> None:
    failed: list[StageError] = []
    limited = pool.with_options(timeout=0.02)
    pipeline = Pipeline(stage(lambda n: hold(n) if n == 1 else n, pool=limited), on_error=failed.append)

    results = list(pipeline.run(range(4)))
    hold.let_go()

    assert results == [0, 2, 3]
    assert isinstance(failed[0].__cause__, TaskTimeout)


@pytest.mark.parametrize("view", [False, True])
def test_items_for_which_a_pool_takes_no_work_fail_with_what_it_says(view: bool) -> None:
    failed: list[StageError] = []
    pool = ThreadPool(1)
    pool.shutdown()
    pipeline = Pipeline(stage(int, pool=pool.with_options() if view else pool), on_error=failed.append)

    assert list(pipeline.run("123")) == []
    assert [(error.item, type(error.__cause__)) for error in failed] == [(each, PoolClosed) for each in "123"]


def test_items_whose_errand_is_cancelled_by_the_end_of_their_pool_fail(hold: Hold) -> None:
    pool = ThreadPool(1)
    blocker = pool.submit(hold, 0)
    hold.wait_for(1)
    failed: list[StageError] = []
    results = Pipeline(stage(int, pool=pool), on_error=failed.append).run("12")
    taking = threading.Thread(target=list, args=(results,))
    taking.start()
    until(lambda: results.stats()[0].received == 2)

    pool.shutdown(wait=False, cancel_futures=True)
    hold.let_go()
    taking.join(SOON)

    assert [error.index for error in failed] == [0, 1]
    assert blocker.result(SOON) == 0
    pool.shutdown()


def test_an_error_of_the_source_stands_behind_what_was_read_before() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("gone")

    results = source() | stage(abs)

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(results)


# A pool without a place.


@pytest.mark.parametrize("view", [False, True])
def test_the_consumer_waits_for_a_place_in_a_full_pool(view: bool, hold: Hold) -> None:
    with ThreadPool(1, queue_size=1) as pool:
        pool.submit(hold, 0)
        hold.wait_for(1)
        pool.submit(abs, 0)
        opener = threading.Timer(0.02, hold.let_go)
        opener.start()

        assert list(range(20) | stage(abs) | stage(abs, pool=pool.with_options() if view else pool)) == list(range(20))
        opener.join()


def test_a_worker_that_finds_the_next_pool_full_leaves_it_to_the_consumer(hold: Hold) -> None:
    with ThreadPool(1, queue_size=0) as full:
        full.submit(hold, 0)
        hold.wait_for(1)
        results = range(3) | stage(abs) | stage(abs, pool=full)
        taking = threading.Thread(target=lambda: taken.extend(results))
        taken: list[int] = []
        taking.start()
        until(lambda: results.stats()[1].waiting == 3)

        hold.let_go()
        taking.join(SOON)

        assert taken == [0, 1, 2]


# The end.


@pytest.mark.parametrize("given", [False, True])
def test_a_consumer_that_leaves_stops_everything(pool: ThreadPool, given: bool) -> None:
    begun, stopped = threading.Semaphore(0), threading.Semaphore(0)
    spin = asked_to_stop(begun, stopped)
    door = pool if given else None
    results = Pipeline(stage(lambda n: spin(n) if n else n, workers=3, pool=door), ordered=False).run([1, 2, 0, 3, 4])

    for _ in results:
        break
    assert begun.acquire(timeout=SOON)
    assert begun.acquire(timeout=SOON)
    results.close()

    assert [stopped.acquire(timeout=0) for _ in range(2)] == [True, True]
    assert [name for name in (thread.name for thread in threading.enumerate()) if "lambda" in name] == []
    assert next(results, None) is None


def test_a_run_that_is_dropped_stops(pool: ThreadPool) -> None:
    source = Read()
    results = source | stage(abs, pool=pool)
    next(results)

    del results
    gc.collect()

    assert pool.drain(SOON)


def test_a_run_that_was_never_advanced_has_read_and_started_nothing() -> None:
    source = Read()
    with source | stage(abs) as results:
        assert results.stats()[0].received == 0

    assert source.items == 0


@pytest.mark.parametrize("way", ["own", "given", "view"])
def test_cancel_stops_it_from_another_thread(pool: ThreadPool, way: str) -> None:
    begun, stopped = threading.Semaphore(0), threading.Semaphore(0)
    doors: dict[str, Any] = {"own": None, "given": pool, "view": pool.with_options()}
    results = Pipeline(stage(asked_to_stop(begun, stopped), workers=2, pool=doors[way]), stage(abs)).run(Read())
    raised: list[BaseException] = []

    def take() -> None:
        try:
            next(results)
        except BaseException as error:
            raised.append(error)

    taking = threading.Thread(target=take)
    taking.start()
    assert begun.acquire(timeout=SOON)
    assert begun.acquire(timeout=SOON)
    results.cancel()
    results.cancel()
    taking.join(SOON)

    assert [type(error) for error in raised] == [TaskCancelled]
    assert stopped.acquire(timeout=0)
    assert stopped.acquire(timeout=0)
    assert not begun.acquire(timeout=0)


def test_drain_reads_no_further_and_finishes_what_was_read() -> None:
    source = Read()
    results = source | stage(abs) | stage(str)
    first = next(results)

    results.drain()
    rest = list(results)

    assert [first, *rest] == [str(n) for n in range(source.items)]


@pytest.mark.untraced
def test_ctrl_c_stops_everything_and_passes() -> None:
    begun, stopped = threading.Semaphore(0), threading.Semaphore(0)
    results = Pipeline(stage(asked_to_stop(begun, stopped), workers=1)).run(range(10))

    def press() -> None:
        assert begun.acquire(timeout=SOON)
        press_ctrl_c()

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    presser.join()

    assert stopped.acquire(timeout=0)


def test_a_call_that_takes_no_notice_holds_the_end_up_for_a_second_at_most(hold: Hold, pool: ThreadPool) -> None:
    results = Pipeline(stage(lambda n: hold(n) if n == 0 else n, workers=2, pool=pool), ordered=False).run(range(2))
    next(results)
    hold.wait_for(1)
    began = time.monotonic()

    results.close()

    assert time.monotonic() - began < 2
    assert results.stats()[0].running == 1
    hold.let_go()


# Stats.


@pytest.mark.parametrize("view", [False, True])
def test_each_stage_counts_what_came_what_went_on_and_what_failed(pool: ThreadPool, view: bool) -> None:
    door = pool.with_options() if view else pool
    run = Pipeline(stage(int, pool=door), stage(abs, pool=door), on_error=lambda _: None).run(["1", "x", "-3"])

    list(run)
    until(lambda: not any(each.running for each in run.stats()))
    first, second = run.stats()

    assert (first.name, first.received, first.passed, first.failed, first.waiting) == ("int", 3, 2, 1, 0)
    assert (second.name, second.received, second.passed, second.failed, second.waiting) == ("abs", 2, 2, 0, 0)
    assert first.busy > 0


def test_who_looks_first_and_who_takes_first_see_the_same_run() -> None:
    """Each made a conveyor of his own when both came at once: the look then showed one in which nothing happened."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            results = [1] | stage(abs)
            taking = threading.Thread(target=list, args=(results,))
            taking.start()
            results.stats()
            taking.join(SOON)
            assert results.stats()[0].received == 1
    finally:
        sys.setswitchinterval(interval)


# Arguments.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stage(3), "needs a function"),  # type: ignore[arg-type]  # that is what is tested
        (lambda: stage(abs, workers=0), "workers must be a whole number of at least 1, got 0"),
        (lambda: stage(abs, pool=3), "pool must be a pool"),  # type: ignore[arg-type]  # as above
        (Pipeline, "at least one stage"),
        (lambda: Pipeline(abs), "made of at least one stage, as by stage"),  # type: ignore[arg-type]  # as above
        (lambda: Pipeline(stage(abs), on_error="go on"), "on_error must be 'stop' or a function"),  # type: ignore[arg-type]  # as above
        (lambda: Pipeline(stage(abs), buffersize=True), "buffersize must be"),
        (lambda: Pipeline(stage(abs)).run(3), "must be iterable, got 3"),  # type: ignore[arg-type]  # as above
    ],
)
def test_a_mistake_in_an_argument_is_refused_where_it_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_only_a_stage_can_be_put_behind_others() -> None:
    with pytest.raises(TypeError):
        Pipeline(stage(abs)) | abs  # type: ignore[operator]  # that is what is tested


def test_a_run_that_has_begun_takes_no_more_stages() -> None:
    results = [1] | stage(abs)
    next(results)

    with pytest.raises(ValueError, match="has begun"):
        results | stage(abs)
    results.close()


def test_a_stage_is_named_for_its_function() -> None:
    class Parse:
        def __call__(self, value: object) -> object:
            return value

    assert [each.name for each in (stage(abs), stage(Parse()), stage(abs, name="size"))] == ["abs", "Parse", "size"]


def test_a_run_that_was_cancelled_before_it_began_raises_when_it_is_iterated() -> None:
    results = [1] | stage(abs)
    results.cancel()

    with pytest.raises(TaskCancelled), suppress(StopIteration):
        next(results)


# Races that a test can hold still: the parts by themselves.


class Belt:
    """A run that does nothing by itself."""

    def __init__(self) -> None:
        self.stopped = False
        self.asked, self.failed = list[object](), list[BaseException]()

    def call(self, pool: Any, fn: Any, *args: Any) -> Any:
        return pool.submit(fn, *args)

    def ask(self, station: object) -> None:
        self.asked.append(station)

    def fail(self, slot: Any, stage: str, error: BaseException) -> None:
        self.failed.append(error)


class Passed:
    """What follows a station: a list."""

    hungry = False

    def __init__(self, slots: list[Any]) -> None:
        self.take = slots.append

    def feed(self) -> None:
        pass


def give(station: ThreadStation | PoolStation, slot: list[Any]) -> None:
    station.take(slot)
    if station.hungry:
        station.feed()


def thread_station(pool: ThreadPool, fn: Callable[[Any], Any], limit: int = 1) -> tuple[ThreadStation, Belt, list[Any]]:
    belt, passed = Belt(), list[Any]()
    station = ThreadStation("stage", fn, limit, belt, pool=pool, shared=True)
    station.following = Passed(passed)
    return station, belt, passed


def test_what_a_stopped_run_has_left_in_an_inbox_is_never_done(pool: ThreadPool, hold: Hold) -> None:
    station, belt, passed = thread_station(pool, hold)
    give(station, [0, 0, None])
    hold.wait_for(1)

    belt.stopped = True
    give(station, [1, 1, None])
    hold.let_go()
    until(lambda: not station.calls)

    assert [slot[0] for slot in passed] == [0]


def test_nobody_is_sent_to_an_inbox_that_has_someone_or_has_been_emptied(pool: ThreadPool, hold: Hold) -> None:
    station, _, passed = thread_station(pool, hold, limit=2)
    station.attend()
    assert not station.calls

    give(station, [0, 0, None])
    hold.wait_for(1)
    give(station, [1, 1, None])
    station.attend()
    hold.let_go()
    until(lambda: len(passed) == 2)


def test_what_comes_while_an_errand_goes_home_is_taken_by_it(pool: ThreadPool) -> None:
    """Many single items, each put when the one before has just passed: some come in that moment."""
    station, _, passed = thread_station(pool, abs)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for n in range(3000):
            give(station, [n, n, None])
            while len(passed) <= n:
                pass
    finally:
        sys.setswitchinterval(interval)

    until(lambda: not station.calls)


def test_a_call_that_ends_after_the_stop_is_not_passed_on(pool: ThreadPool, hold: Hold) -> None:
    belt, passed = Belt(), list[Any]()
    station = PoolStation("stage", hold, 1, belt, pool=pool.with_options())
    station.following = Passed(passed)
    give(station, [0, 0, None])
    give(station, [1, 1, None])
    station.attend()
    hold.wait_for(1)

    belt.stopped = True
    hold.let_go()
    until(lambda: not station.calls)

    assert passed == []
    assert belt.asked[:2] == [station, station]


def test_a_bell_that_is_rung_by_nobody_is_not_waited_for(pool: ThreadPool) -> None:
    """What has ended before the bell hung is seen by the look after it."""
    for _ in range(200):
        assert list([1] | stage(abs, pool=pool)) == [1]
