from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from millhand import Future, PoolClosed, QueueFull, TaskTimeout, ThreadPool
from millhand.core.errors import TaskDropped
from millhand.pool import loop_crew
from millhand.pool.coroutine import CoroutinePool
from millhand.pool.current import check_cancelled, current_task
from millhand.pool.timers import Alarm

Pools = Callable[..., CoroutinePool]


@pytest.fixture
def make() -> Iterator[Pools]:
    made: list[CoroutinePool] = []

    def make_one(*args: Any, **kwargs: Any) -> CoroutinePool:
        made.append(CoroutinePool(*args, **kwargs))
        return made[-1]

    yield make_one
    for pool in made:
        pool.shutdown()


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 15))


async def give(value: Any = None) -> Any:
    return value


async def give_later(value: Any = None) -> Any:
    await asyncio.sleep(0)
    return value


async def boom() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError("boom")


class Hold:
    """Keeps one place busy until opened, from any thread."""

    def __init__(self, pool: CoroutinePool, *, wait: bool = True) -> None:
        self.entered, self.left = threading.Event(), threading.Event()
        self.cancelled = False
        self._pool, self._made = pool, threading.Event()
        self.future = pool.submit(self._wait)
        if wait:
            assert self.entered.wait(5)

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    async def _wait(self) -> str:
        self._loop, self._open = asyncio.get_running_loop(), asyncio.Event()
        self.entered.set()
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.left.set()
        return "opened"


# Running.


@pytest.mark.parametrize("fn", [give, give_later])
def test_submit_returns_our_future_of_what_the_coroutine_returns(make: Pools, fn: Any) -> None:
    future = make(2).submit(fn, value=3)

    assert isinstance(future, Future)
    assert future.result() == 3


def test_an_exception_keeps_its_traceback_and_that_begins_in_the_call(make: Pools) -> None:
    error = make(1).submit(boom).exception()

    assert isinstance(error, ZeroDivisionError)
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code is boom.__code__


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_ends_only_its_task(make: Pools, kind: type[BaseException]) -> None:
    async def leave(*, later: bool) -> None:
        if later:
            await asyncio.sleep(0)
        raise kind

    pool = make(1)

    assert isinstance(pool.submit(leave, later=False).exception(), kind)
    assert isinstance(pool.submit(leave, later=True).exception(), kind)
    assert pool.submit(give, 1).result() == 1


@pytest.mark.parametrize("fn", [int, lambda: None, functools.partial(int, 3)])
def test_what_is_no_async_function_is_refused_at_submit(make: Pools, fn: Any) -> None:
    pool = make(1)

    with pytest.raises(TypeError, match=r"no async function.*ThreadPool"):
        pool.submit(fn)
    with pytest.raises(TypeError, match="no async function"):
        pool.with_options(priority=1).submit(fn)
    assert pool.stats().submitted == 0


def test_methods_partials_and_objects_are_async_functions_too(make: Pools) -> None:
    class Something:
        async def method(self, value: int) -> int:
            return value

        async def __call__(self, value: int) -> int:
            return value

    pool = make(1)
    calls: list[Any] = [Something().method, functools.partial(give), Something()]

    assert [pool.submit(call, n).result() for n, call in enumerate(calls)] == [0, 1, 2]


def test_wrong_arguments_fail_the_call(make: Pools) -> None:
    assert isinstance(make(1).submit(give, 1, 2, 3).exception(), TypeError)  # type: ignore[call-arg]  # on purpose


@pytest.mark.parametrize("workers", [0, -1, True, 2.5])
def test_there_must_be_a_place(workers: Any) -> None:
    with pytest.raises(ValueError, match="max_workers"):
        CoroutinePool(workers)


def test_no_more_calls_than_asked_for_are_under_way(make: Pools) -> None:
    pool = make(3)
    running = highest = 0

    async def work() -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0.001)
        running -= 1

    for future in [pool.submit(work) for _ in range(30)]:
        future.result()

    assert highest == 3


def test_calls_that_never_suspend_let_the_loop_have_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_crew, "TURN", 1e-6)

    async def main() -> int:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticker = asyncio.ensure_future(tick())
        async with CoroutinePool(1) as pool:
            for _ in range(100):
                pool.submit(give)
        ticker.cancel()
        return turns

    assert run(main) > 20  # without its turns, the loop has two or three


def test_a_call_runs_in_a_real_asyncio_task(make: Pools) -> None:
    async def inside() -> object:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            child = group.create_task(give_later(3))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        return asyncio.current_task() is not None and child.result()

    assert make(1).submit(inside).result() == 3


def test_each_call_has_a_context_of_its_own_from_its_submit(make: Pools) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def change(value: str) -> str:
        before = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return f"{before} {variable.get()}"

    pool = make(2)
    plain = contextvars.Context().run(pool.submit, change, "a")
    variable.set("mine")
    others = [pool.submit(change, "b"), pool.submit(change, "c")]

    assert [future.result() for future in [plain, *others]] == ["none a", "mine b", "mine c"]
    assert make(1, copy_context=False).submit(change, "d").result() == "none d"


def test_a_call_knows_its_task_between_all_its_steps_and_the_loop_knows_none(make: Pools) -> None:
    pool = make(2)
    outside: list[object] = []

    async def look() -> list[object]:
        seen = []
        for _ in range(3):
            seen.append(current_task())
            asyncio.get_running_loop().call_soon(lambda: outside.append(current_task()))
            await asyncio.sleep(0)
        return seen

    futures = [pool.submit(look) for _ in range(2)]

    assert [set(future.result()) for future in futures] == [{future} for future in futures]
    assert set(outside) == {None}


def test_the_pool_runs_on_the_running_loop_inside_of_async_with() -> None:
    async def where() -> object:
        return asyncio.get_running_loop()

    async def main() -> bool:
        async with CoroutinePool(2) as pool:
            return await pool.run(where) is asyncio.get_running_loop()

    assert run(main)


def test_a_pool_on_its_own_loop_serves_another_one() -> None:
    async def main() -> object:
        with CoroutinePool(5) as pool:
            values = [value async for value in pool.amap(give_later, range(50))]
            return values, await asyncio.gather(*(pool.run(give, n) for n in range(50)))

    assert run(main) == (list(range(50)), list(range(50)))


def test_async_with_comes_before_the_first_submit() -> None:
    async def main() -> None:
        with CoroutinePool(1) as pool:
            await pool.run(give)
            async with pool:
                pass

    with pytest.raises(RuntimeError, match="before the first submit"):
        run(main)


@pytest.mark.parametrize("ordered", [True, False])
def test_amap_over_coroutines(ordered: bool) -> None:
    async def main() -> object:
        async with CoroutinePool(5, queue_size=10) as pool:
            return sorted([value async for value in pool.amap(give_later, range(300), ordered=ordered)])

    assert run(main) == list(range(300))


# Waiting for each other.


def test_calls_await_each_other_to_depth_1000_with_one_place() -> None:
    async def nest(depth: int) -> int:
        return 0 if depth == 0 else 1 + await pool.submit(nest, depth - 1)

    with CoroutinePool(1) as pool:
        assert pool.submit(nest, 1_000).result(10) == 1_000
        assert contextvars.Context().run(pool.submit, nest, 10).result(10) == 10
        stats = pool.stats()

    assert (stats.done, stats.running) == (1_012, 0)


@pytest.mark.parametrize("way", ["run", "submit", "gather", "amap", "task"])
def test_a_call_may_wait_in_every_way_for_others_of_its_pool_with_one_place(way: str) -> None:
    async def outer() -> list[int]:
        match way:
            case "run":
                return list(await asyncio.gather(*(pool.run(give_later, n) for n in range(5))))
            case "submit":
                return [await future for future in [pool.submit(give_later, n) for n in range(5)]]
            case "gather":
                return list(await asyncio.gather(*(pool.submit(give_later, n) for n in range(5))))
            case "amap":
                return [value async for value in pool.amap(give_later, range(5))]
            case _:
                return list(await asyncio.create_task(asyncio.wait_for(pool.run(give_later, list(range(5))), 10)))

    with CoroutinePool(1, queue_size=1 if way not in {"submit", "gather"} else 10) as pool:
        assert pool.submit(outer).result(10) == list(range(5))


def test_after_the_wait_the_pool_is_back_to_its_size(make: Pools) -> None:
    pool = make(1)
    running = highest = 0

    async def work() -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0)
        running -= 1

    async def outer() -> None:
        await pool.run(give_later)

    for future in [pool.submit(fn) for _ in range(20) for fn in (outer, work)]:
        future.result(5)
    highest = 0
    for future in [pool.submit(work) for _ in range(20)]:
        future.result(5)

    assert highest == 1


def test_result_on_the_pools_loop_says_to_await_instead(make: Pools) -> None:
    pool = make(2)

    async def block() -> object:
        return pool.submit(give_later).result()

    with pytest.raises(RuntimeError, match="await the future instead"):
        pool.submit(block).result()


# Cancelling.


def test_cancel_running_cancels_the_coroutine(make: Pools) -> None:
    pool = make(1)
    hold = Hold(pool)

    assert not hold.future.cancel()
    assert hold.future.cancel(running=True)  # type: ignore[call-arg]  # it is a Task
    assert hold.left.wait(5)
    assert pool.submit(give, 1).result() == 1

    assert hold.cancelled
    assert hold.future.cancelled()
    assert (pool.stats().cancelled, pool.stats().done) == (1, 1)


def test_what_waits_can_be_cancelled_and_is_never_run(make: Pools) -> None:
    calls: list[int] = []

    async def note(n: int) -> None:
        calls.append(n)

    pool = make(1)
    hold = Hold(pool)
    future = pool.submit(note, 1)

    assert future.cancel()
    hold.open()
    pool.shutdown()

    assert calls == []


def test_a_call_that_catches_its_cancellation_ends_as_it_does(make: Pools) -> None:
    entered = threading.Event()

    async def stubborn() -> str:
        try:
            entered.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "stayed"
        return "never"

    pool = make(1)
    future = pool.submit(stubborn)
    assert entered.wait(5)
    future.cancel(running=True)  # type: ignore[call-arg]  # it is a Task

    assert future.result(5) == "stayed"
    assert pool.submit(give_later, 2).result(5) == 2


def test_a_cancellation_left_over_does_not_hit_the_next_call(make: Pools) -> None:
    """The call cancels itself, and ends before it could notice: the next one must not be cancelled for it."""

    async def cancel_itself(*, later: bool, take_back: bool) -> str:
        if later:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if take_back:  # which does not take back what was already on its way, before Python 3.13
            task.uncancel()
        return "ended"

    pool = make(1)
    pool._crew._turn_ends = float("inf")  # noqa: SLF001 - a turn of the loop in between would be cancelled instead
    futures = [
        future
        for later, take_back in [(False, False), (True, False), (True, True)]
        for future in (
            pool.submit(cancel_itself, later=later, take_back=take_back),
            pool.submit(give_later, "whole"),
        )
    ]

    assert [future.result(5) for future in futures] == ["ended", "whole"] * 3


def test_a_call_that_was_asked_to_stop_itself_in_its_first_step_is_cancelled_at_the_next(make: Pools) -> None:
    async def stop_itself() -> None:
        task = current_task()
        assert task is not None
        assert task.cancel(running=True)
        await asyncio.sleep(10)

    pool = make(1)
    future = pool.submit(stop_itself)

    with pytest.raises(CancelledError):
        future.result(5)
    assert future.cancelled()


def test_check_cancelled_works_inside_of_a_coroutine(make: Pools) -> None:
    async def stop_itself() -> None:
        task = current_task()
        assert task is not None
        task.cancel(running=True)
        check_cancelled()

    future = make(1).submit(stop_itself)

    with pytest.raises(CancelledError):
        future.result(5)
    assert future.cancelled()


def test_a_cancelled_error_from_within_ends_the_future_as_cancelled(make: Pools) -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    future = make(1).submit(give_up)
    with pytest.raises(CancelledError):
        future.result(5)

    assert future.cancelled()


def test_a_cancellation_reaches_what_the_call_has_submitted(make: Pools) -> None:
    pool, threads = make(3), ThreadPool(1)
    stopped, entered = threading.Event(), threading.Event()

    def spin() -> None:
        entered.set()
        try:
            while True:
                check_cancelled()
        finally:
            stopped.set()

    async def outer() -> None:
        pool.submit(asyncio.sleep, 100)
        threads.submit(spin)
        await asyncio.Event().wait()

    with threads:
        future = pool.submit(outer)
        assert entered.wait(5)
        future.cancel(running=True)  # type: ignore[call-arg]  # it is a Task
        assert stopped.wait(5)
    pool.shutdown()

    assert (pool.stats().cancelled, threads.stats().cancelled) == (2, 1)


def test_cancelling_the_await_of_run_cancels_the_coroutine() -> None:
    async def main() -> Any:
        left = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

        async with CoroutinePool(1) as pool:
            call = asyncio.ensure_future(pool.run(work))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            call.cancel()
            await left.wait()
        return pool.stats().cancelled

    assert run(main) == 1


# Limits.


def test_a_timeout_cancels_the_coroutine_and_fails_the_future(make: Pools) -> None:
    pool = make(1)
    left = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            left.set()

    future = pool.with_options(timeout=0.02).submit(work)

    with pytest.raises(TaskTimeout, match=r"still running after 0\.02 s"):
        future.result(5)
    assert left.wait(5)
    assert pool.submit(give, 1).result(5) == 1
    stats = pool.stats()
    assert (stats.timed_out, stats.written_off, stats.done) == (1, 0, 1)


def test_a_timeout_strikes_also_while_the_loop_is_blocked(make: Pools) -> None:
    release = threading.Event()

    async def block() -> None:
        release.wait(10)

    pool = make(1)
    future = pool.with_options(timeout=0.02).submit(block)

    with pytest.raises(TaskTimeout):
        future.result(5)
    release.set()
    assert pool.submit(give, 1).result(5) == 1


def test_a_timeout_is_kept_also_if_there_is_no_thread_for_the_timer(
    make: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the interpreter ends, on Python 3.12 and newer."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make(1)
    pool.submit(give).result(5)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    in_time = pool.with_options(timeout=60).submit(give_later, 1).result(5)
    late = pool.with_options(timeout=0.01).submit(asyncio.sleep, 100).exception(5)
    monkeypatch.undo()

    assert in_time == 1
    assert isinstance(late, TaskTimeout)


def test_a_call_in_time_is_left_alone(make: Pools) -> None:
    pool = make(2)
    view = pool.with_options(timeout=5, total_timeout=5)

    assert [view.submit(give_later, n).result(5) for n in range(20)] == list(range(20))


def test_a_total_timeout_fails_what_still_waits(make: Pools) -> None:
    pool = make(1)
    hold = Hold(pool)
    future = pool.with_options(total_timeout=0.02).submit(give)

    with pytest.raises(TaskTimeout):
        future.result(5)
    hold.open()


def test_a_call_whose_time_is_over_does_not_begin_though_its_alarm_is_late(make: Pools) -> None:
    pool = make(1)
    hold = Hold(pool)
    calls: list[int] = []

    async def note() -> None:
        calls.append(1)

    timers = pool._crew.timers  # noqa: SLF001 - to make them late
    timers.at = lambda due, action: Alarm(action)  # type: ignore[method-assign]  # as above
    future = pool.with_options(total_timeout=0.01).submit(note)
    threading.Event().wait(0.015)
    hold.open()

    assert isinstance(future.exception(5), TaskTimeout)
    assert calls == []
    assert pool.stats().timed_out == 1


def test_a_deadline_is_inherited_by_what_the_call_submits(make: Pools) -> None:
    pool = make(2)

    async def left() -> Any:
        task = current_task()
        return task and task.remaining

    async def outer() -> Any:
        return await pool.submit(left)

    for view in (pool.with_options(total_timeout=60), pool.with_options(timeout=60)):
        assert 0 < view.submit(outer).result(5) < 60


@pytest.mark.slow
def test_a_call_that_ignores_its_cancellation_loses_its_place(make: Pools) -> None:
    pool = make(1)
    release = threading.Event()

    async def ignore() -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    stuck = pool.with_options(timeout=0.02).submit(ignore)
    behind = pool.submit(give, 1)

    with pytest.raises(TaskTimeout):
        stuck.result(5)
    assert behind.result(5) == 1
    stats = pool.stats()
    release.set()
    pool.shutdown()

    assert (stats.written_off, stats.workers, stats.timed_out) == (1, 1, 1)
    assert any(worker.state == "written off" for worker in stats.table)
    assert pool.stats().written_off == 0


# When it is full.


def test_a_full_queue_blocks_a_thread_until_there_is_room(make: Pools) -> None:
    pool = make(1, queue_size=1)
    hold = Hold(pool)
    waiting = pool.submit(give, 1)
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(pool.submit(give, 2).result(5)))
    thread.start()
    thread.join(0.02)
    blocked = thread.is_alive()
    hold.open()
    thread.join()

    assert blocked
    assert (waiting.result(), outcome) == (1, [2])


def test_a_full_queue_never_blocks_a_loop() -> None:
    async def main() -> list[object]:
        async with CoroutinePool(1, queue_size=1) as pool:
            pool.submit(give)
            with pytest.raises(QueueFull, match="await"):
                pool.submit(give)
            return await asyncio.gather(*(pool.run(give_later, n) for n in range(20)))

    assert run(main) == list(range(20))


def test_caller_runs_beyond_the_limit_while_the_submitter_waits(make: Pools) -> None:
    pool = make(1, queue_size=1, when_full="caller_runs")
    hold = Hold(pool)
    waiting = pool.submit(give, 1)

    beyond = pool.submit(give_later, 2)
    done_at_once = beyond.done()
    hold.open()

    assert done_at_once
    assert (beyond.result(), waiting.result(5)) == (2, 1)
    stats = pool.stats()
    assert (stats.submitted, stats.done) == (3, 3)


def test_a_caller_whose_loop_ends_before_its_call_begins_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = CoroutinePool(1, queue_size=1, when_full="caller_runs")
    hold = Hold(pool)
    waiting = pool.submit(give, 1)
    crew = pool._crew  # noqa: SLF001 - the race is between two of its lines
    tell = crew._tell  # noqa: SLF001 - as above

    def end_first(function: Any, *args: Any) -> bool:
        monkeypatch.undo()
        hold.open()
        pool.shutdown()
        return tell(function, *args)

    monkeypatch.setattr(crew, "_tell", end_first)
    beyond = pool.submit(give, 2)

    assert isinstance(beyond.exception(0), PoolClosed)
    assert waiting.result(0) == 1


@pytest.mark.parametrize(("policy", "dropped"), [("drop_oldest", 0), ("drop_newest", 2), ("drop_lowest", 2)])
def test_a_full_queue_drops_whom_its_policy_says(make: Pools, policy: Any, dropped: int) -> None:
    pool = make(1, queue_size=2, when_full=policy)
    hold = Hold(pool)
    futures = [pool.submit(give, n) for n in range(3)]
    hold.open()

    errors = [future.exception(5) for future in futures]
    assert [isinstance(error, TaskDropped) for error in errors] == [n == dropped for n in range(3)]


def test_a_queue_of_no_size_hands_over_only_to_a_free_place(make: Pools) -> None:
    pool = make(2, queue_size=0, when_full="reject")
    holds = [Hold(pool), Hold(pool)]

    with pytest.raises(QueueFull):
        pool.submit(give)
    holds[0].open()
    holds[0].future.result(5)

    assert pool.submit(give, 1).result(5) == 1
    holds[1].open()


def test_a_submitter_that_waits_for_a_free_place_gets_it_when_a_call_ends(make: Pools) -> None:
    pool = make(1, queue_size=0)
    hold = Hold(pool)
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(pool.submit(give, 1).result(5)))
    thread.start()
    thread.join(0.02)
    blocked = thread.is_alive()
    hold.open()
    thread.join()

    assert blocked
    assert outcome == [1]


def test_priorities_decide_the_order(make: Pools) -> None:
    pool = make(1)
    hold = Hold(pool)
    order: list[int] = []

    async def note(n: int) -> None:
        order.append(n)

    futures = [pool.with_options(priority=n).submit(note, n) for n in range(5)]
    futures[0].set_priority(9)  # type: ignore[attr-defined]  # it is a Task
    hold.open()
    for future in futures:
        future.result(5)

    assert order == [0, 4, 3, 2, 1]


# Size, pausing, ending.


def test_resize_takes_effect_at_once_upwards_and_after_running_calls_downwards(make: Pools) -> None:
    pool = make(1)
    first = Hold(pool)
    second = Hold(pool, wait=False)
    pool.resize(2)
    assert second.entered.wait(5)
    pool.resize(1)
    third = Hold(pool, wait=False)
    first.open()
    first.future.result(5)
    pool.submit(give)
    waiting = pool.stats().waiting
    second.open()

    assert third.entered.wait(5)
    third.open()
    assert waiting == 2
    with pytest.raises(ValueError, match="max_workers"):
        pool.resize(0)


def test_a_paused_pool_starts_nothing_until_it_is_resumed(make: Pools) -> None:
    pool = make(2)
    hold = Hold(pool)
    pool.pause()
    waiting = [pool.submit(give, n) for n in range(3)]
    hold.open()
    hold.future.result(5)
    seen = pool.stats().waiting
    pool.resume()

    assert seen == 3
    assert [future.result(5) for future in waiting] == [0, 1, 2]


def test_drain_finishes_what_there_is_and_says_whether_it_did(make: Pools) -> None:
    pool = make(1)
    hold = Hold(pool)
    behind = pool.submit(give, 1)

    too_short = pool.drain(0.01)
    hold.open()

    assert (too_short, pool.drain(5), behind.result()) == (False, True, 1)
    with pytest.raises(PoolClosed):
        pool.submit(give)


def test_shutdown_runs_what_waits_and_leaves_no_thread(make: Pools) -> None:
    before = threading.active_count()
    pool = make(2)
    futures = [pool.with_options(timeout=10).submit(give_later, n) for n in range(50)]
    pool.shutdown()
    pool.shutdown()

    assert [future.result(0) for future in futures] == list(range(50))
    assert threading.active_count() == before
    stats = pool.stats()
    assert (stats.submitted, stats.done, stats.workers) == (50, 50, 0)


def test_shutdown_of_a_paused_pool_runs_what_waits(make: Pools) -> None:
    pool = make(1)
    pool.pause()
    future = pool.submit(give, 1)

    pool.shutdown()

    assert future.result(0) == 1


def test_shutdown_can_cancel_what_waits(make: Pools) -> None:
    pool = make(1)
    hold = Hold(pool)
    waiting = [pool.submit(give) for _ in range(5)]

    pool.shutdown(wait=False, cancel_futures=True)
    hold.open()
    pool.shutdown()

    assert all(future.cancelled() for future in waiting)
    assert hold.future.result() == "opened"


def test_a_pool_that_was_never_used_ends_at_once(make: Pools) -> None:
    pool = make(1)
    pool.shutdown()

    with pytest.raises(PoolClosed):
        pool.submit(give)


def test_shutdown_on_the_pools_own_loop_says_what_to_do(make: Pools) -> None:
    pool = make(1)

    async def end() -> None:
        pool.shutdown()

    with pytest.raises(RuntimeError, match="block the pool's own loop"):
        pool.submit(end).result(5)


def test_tasks_that_a_call_has_left_behind_end_with_the_pool(make: Pools, caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    kept: list[object] = []

    async def start() -> None:
        kept.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    pool = make(1)
    pool.submit(start).result(5)
    pool.shutdown()

    assert ended.is_set()
    assert caplog.text == ""


def test_a_body_that_raises_cancels_what_waits_and_what_runs() -> None:
    with pytest.raises(LookupError), CoroutinePool(1) as pool:  # noqa: PT012 - the body is what raises
        hold = Hold(pool)
        waiting = pool.submit(give)
        raise LookupError

    assert hold.cancelled
    assert waiting.cancelled()


def test_an_async_body_that_raises_cancels_what_waits_and_what_runs() -> None:
    async def main() -> Any:
        before = asyncio.all_tasks()
        with pytest.raises(LookupError):  # noqa: PT012 - the body is what raises
            async with CoroutinePool(1) as pool:
                running, waiting = pool.submit(asyncio.sleep, 100), pool.submit(give)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                raise LookupError
        return running.cancelled(), waiting.cancelled(), asyncio.all_tasks() - before

    assert run(main) == (True, True, set())


def test_leaving_async_with_waits_for_all_and_leaves_no_task() -> None:
    async def main() -> Any:
        before = asyncio.all_tasks()
        async with CoroutinePool(3) as pool:
            futures = [pool.submit(give_later, n) for n in range(30)]
        return [future.result(0) for future in futures], asyncio.all_tasks() - before

    assert run(main) == (list(range(30)), set())


def test_a_cancellation_while_leaving_async_with_cancels_what_is_there() -> None:
    async def main() -> Any:
        entered = asyncio.Event()
        futures: list[Any] = []

        async def work() -> None:
            entered.set()
            await asyncio.sleep(100)

        async def use() -> None:
            async with CoroutinePool(1) as pool:
                futures.extend([pool.submit(work), pool.submit(give)])

        user = asyncio.ensure_future(use())
        await entered.wait()
        user.cancel()
        await asyncio.wait([user])
        return user.cancelled(), [future.cancelled() for future in futures]

    assert run(main) == (True, [True, True])


def test_a_pool_that_is_collected_finishes_what_waits_and_lets_its_thread_go() -> None:
    pool = CoroutinePool(2, "collected")
    futures = [pool.submit(give_later, n) for n in range(10)]
    [thread] = [thread for thread in threading.enumerate() if thread.name == "collected"]

    del pool
    gc.collect()
    thread.join(5)

    assert not thread.is_alive()
    assert [future.result(0) for future in futures] == list(range(10))


def test_a_pool_that_is_collected_while_it_is_paused_finishes_what_waits() -> None:
    pool = CoroutinePool(1)
    pool.pause()
    futures = [pool.submit(give_later, n) for n in range(3)]

    del pool
    gc.collect()

    assert [future.result(5) for future in futures] == [0, 1, 2]


@pytest.mark.parametrize("look", ["get_nowait", "empty"])
def test_what_is_put_right_after_a_look_that_found_nothing_is_seen_by_the_second_look(make: Pools, look: str) -> None:
    """A submit puts, sees that somebody is at work, and tells nobody: who finds nothing must say so and look again."""

    class Items(SimpleQueue):  # type: ignore[type-arg]  # as in queue.py
        def get_nowait(self) -> Any:
            try:
                return super().get_nowait()
            except Empty:
                put_late("get_nowait")
                raise

        def empty(self) -> bool:
            found = super().empty()
            if found:
                put_late("empty")
            return found

    def put_late(seen: str) -> None:
        if seen == look and armed.is_set():
            armed.clear()
            crew._short = False  # noqa: SLF001 - as it is while a place is at work
            late.append(pool.submit(give, 2))
            told.set()

    pool = make(1)
    crew = pool._crew  # noqa: SLF001 - the race is between two of its lines
    late: list[Any] = []
    armed, told = threading.Event(), threading.Event()
    items = Items()
    crew.items, crew.line._items, crew.line.put = items, items, items.put  # noqa: SLF001 - as above
    if look == "get_nowait":
        armed.set()
    assert pool.submit(give, 1).result(5) == 1
    if look == "empty":
        while not crew._idle:  # noqa: SLF001 - the place is on its way to sleep
            time.sleep(0)
        armed.set()
        crew.wake()

    assert told.wait(5)
    assert late[0].result(5) == 2


def test_arguments_and_results_are_let_go(make: Pools) -> None:
    class Something:
        pass

    async def take(thing: Something, *, later: bool) -> Something:
        if later:
            await asyncio.sleep(0)
        return Something()

    pool = make(1)
    for later in (False, True):
        thing = Something()
        gone = weakref.ref(thing)
        future = pool.submit(take, thing, later=later)
        result = weakref.ref(future.result())
        del thing, future
        deadline = time.monotonic() + 2
        while (gone() or result()) and time.monotonic() < deadline:
            gc.collect()  # the place may not be idle yet; once it is, it must hold nothing

        assert (gone(), result()) == (None, None)


def test_counts_add_up_while_calls_of_all_kinds_end(make: Pools) -> None:
    pool = make(4, queue_size=50)
    snapshots = []
    futures: list[Any] = []
    for n in range(400):
        futures.append(pool.submit([give, give_later, boom][n % 3]))
        if n % 7 == 0:
            futures[-1].cancel()
        if n % 20 == 0:
            snapshots.append(pool.stats())
    pool.shutdown()
    stats = pool.stats()

    for each in [*snapshots, stats]:
        parts = (each.waiting, each.running, each.done, each.failed, each.cancelled, each.timed_out, each.dropped)
        assert each.submitted == sum(parts) + each.refused
        assert min(parts) >= 0
    cancelled = sum(future.cancelled() for future in futures)
    failed = sum(not future.cancelled() and future.exception() is not None for future in futures)
    assert (stats.submitted, stats.cancelled, stats.failed) == (400, cancelled, failed)
    assert stats.run_time.count == 400 - cancelled


def test_a_submit_that_meets_a_loop_about_to_be_idle_is_not_lost(make: Pools) -> None:
    """One after the other, so that each meets the place on its way to sleep, or asleep, or just awake."""
    pool = make(1)

    for n in range(500):
        assert pool.submit(give, n).result(5) == n


def test_many_threads_submit_to_a_narrow_pool(make: Pools) -> None:
    pool = make(2, queue_size=2)
    outcomes: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append([pool.submit(give_later, n).result(5) for n in range(50)]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [list(range(50))] * 6


def test_listeners_learn_of_calls_and_places(make: Pools) -> None:
    pool = make(1)
    events: list[Any] = []
    pool.listen(events.append)
    for fn in (give, give_later, boom):
        pool.submit(fn).exception(5)
    pool.resize(2)
    pool.resize(2)
    pool.shutdown()

    names = [type(event).__name__ for event in events]
    assert names.count("TaskStarted") == names.count("TaskEnded") == 3
    assert [event.outcome for event in events if hasattr(event, "outcome")] == ["returned", "returned", "raised"]
    assert {"WorkerHired", "WorkerLeft"} < set(names)
    assert names.count("PoolResized") == 1


def test_there_are_no_sub_pools_and_that_is_said_at_once(make: Pools) -> None:
    with pytest.raises(TypeError, match="make another CoroutinePool"):
        make(2).subpool(1)


def test_map_and_groups_serve_coroutines_too(make: Pools) -> None:
    pool = make(3)

    values = list(pool.map(give_later, range(50)))
    with pool.group() as group:
        futures = [group.submit(give_later, n) for n in range(5)]

    assert values == list(range(50))
    assert [future.result() for future in futures] == list(range(5))


def test_an_async_group_cancels_its_other_coroutines_when_one_fails() -> None:
    async def main() -> Any:
        async with CoroutinePool(5) as pool:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - leaving the body is what raises
                async with pool.group() as group:
                    other = group.submit(asyncio.sleep, 100)
                    group.submit(boom)
                    await other
        return caught.value.exceptions, other.cancelled()

    (error,), cancelled = run(main)
    assert isinstance(error, ZeroDivisionError)
    assert cancelled


# Programs.


def run_program(text: str) -> tuple[str, str, int]:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=15, check=False)
    return done.stdout, done.stderr, done.returncode


HEAD = (
    "import asyncio, sys, time\n"
    "from millhand.pool.coroutine import CoroutinePool\n"
    "async def say(n):\n"
    "    await asyncio.sleep(0.001)\n"
    "    print(n)\n"
)


@pytest.mark.slow
def test_what_was_submitted_runs_before_the_interpreter_ends() -> None:
    out, err, code = run_program(
        HEAD + "pool = CoroutinePool(1)\n"
        "for n in range(3): pool.submit(say, n)\n"
        "pool.with_options(priority=1, timeout=5).submit(say, 'urgent')\n"
    )

    assert (sorted(out.split()), err, code) == (["0", "1", "2", "urgent"], "", 0)


@pytest.mark.slow
def test_a_submit_while_the_interpreter_ends_is_refused() -> None:
    out, err, code = run_program(
        HEAD + "import atexit\n"
        "pool, fresh = CoroutinePool(1), CoroutinePool(1)\n"
        "pool.submit(asyncio.sleep, 0).result()\n"
        "def last():\n"
        "    for each in pool, fresh:\n"
        "        try: each.submit(say, 'never')\n"
        "        except RuntimeError: print('refused')\n"
        "atexit.register(last)\n"
    )

    assert (out, err, code) == ("refused\n" * 2, "", 0)


@pytest.mark.slow
def test_an_exit_through_the_body_ends_the_program_soon_though_one_call_is_stuck() -> None:
    before = time.monotonic()
    out, err, code = run_program(
        HEAD + "async def stuck():\n"
        "    print('stuck', flush=True)\n"
        "    time.sleep(60)\n"
        "with CoroutinePool(2) as pool:\n"
        "    pool.submit(stuck)\n"
        "    for n in range(10_000): pool.submit(say, n)\n"
        "    sys.exit(3)\n"
    )

    assert (out, err, code) == ("stuck\n", "", 3)
    assert time.monotonic() - before < 5  # 2 s without the start of the interpreter on a busy machine
