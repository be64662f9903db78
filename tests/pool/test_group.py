# ruff: noqa: PT012 - it is the leaving of a group's body that raises, so the body stands in the block
from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any, cast

import pytest

from millhand import Future, PoolClosed, TaskTimeout, ThreadPool
from millhand.core.errors import TaskCancelled
from millhand.pool.coroutine import CoroutinePool
from millhand.pool.current import check_cancelled, current_task
from millhand.pool.group import GroupScope
from millhand.pool.interrupt import Interrupted
from millhand.pool.options import Options
from millhand.pool.pool import PoolView
from millhand.pool.task import Task
from tests.pool.gate import Gate, lost, press_ctrl_c


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(2) as pool:
        yield pool


@pytest.fixture
def narrow() -> Iterator[ThreadPool]:
    with ThreadPool(1) as pool:
        yield pool


class Heeding:
    """A call that runs until it is asked to stop."""

    def __init__(self) -> None:
        self.entered, self.left = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        try:
            wait_for_the_end()
        finally:
            self.left.set()


def wait_for_the_end() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        check_cancelled()
        time.sleep(0.001)
    raise AssertionError("nobody asked it to stop")


def fail(error: BaseException | None = None) -> None:
    raise error or ValueError("no")


# Leaving.


def test_leaving_waits_until_nothing_of_the_group_is_queued_or_running(pool: ThreadPool) -> None:
    with pool.group() as group:
        gate = Gate(group)
        waiting = [group.submit(pow, 2, n) for n in range(100)]
        threading.Timer(0.01, gate.open).start()

    assert gate.future.done()
    assert [future.result(0) for future in waiting] == [2**n for n in range(100)]


def test_leaving_an_empty_group_does_not_wait(pool: ThreadPool) -> None:
    with pool.group() as group:
        pass

    assert not group.cancelled


def test_leaving_waits_for_what_calls_have_submitted_from_within_to_another_pool(pool: ThreadPool) -> None:
    with ThreadPool(1) as other:
        gate = Gate(other)
        inner: list[Future[int]] = []

        with pool.group() as group:
            group.submit(lambda: inner.append(other.submit(int, 3))).result()
            threading.Timer(0.01, gate.open).start()

        assert inner[0].result(0) == 3


def test_leaving_waits_for_a_chain_in_which_each_call_submits_the_next_and_ends(pool: ThreadPool) -> None:
    steps: list[int] = []

    def step(n: int) -> None:
        steps.append(n)
        if n < 500:
            pool.submit(step, n + 1)

    with pool.group() as group:
        group.submit(step, 0)

    assert steps == list(range(501))


def test_a_group_refuses_calls_before_it_is_entered_and_after_it_was_left_and_says_what_to_do(pool: ThreadPool) -> None:
    group = pool.group()
    with pytest.raises(PoolClosed, match="inside of its `with` body"):
        group.submit(int)
    with group:
        pass

    with pytest.raises(RuntimeError, match="inside of its `with` body"):
        group.submit(int)

    stats = pool.stats()
    assert (stats.submitted, stats.refused, lost(stats)) == (2, 2, 0)


def test_a_group_can_be_entered_once(pool: ThreadPool) -> None:
    group = pool.group()
    with group:
        pass

    with pytest.raises(RuntimeError, match="make another one"), group:
        pass


def test_a_call_of_the_group_may_submit_to_the_group_while_it_is_being_left(pool: ThreadPool) -> None:
    later: list[Future[int]] = []
    with pool.group() as group:
        gate = Gate(pool)

        def submit_more() -> None:
            gate.future.result()
            later.append(group.submit(int, 7))

        group.submit(submit_more)
        threading.Timer(0.01, gate.open).start()

    assert later[0].result(0) == 7


def test_a_group_is_an_executor_that_can_be_shut_down_early(pool: ThreadPool) -> None:
    with pool.group() as group:
        future = group.submit(int, 1)
        group.shutdown()

        assert future.done()
        with pytest.raises(PoolClosed):
            group.submit(int)


def test_a_thread_that_runs_an_event_loop_is_told_to_use_async_with(pool: ThreadPool) -> None:
    async def enter() -> None:
        with pool.group():
            pass

    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(enter())


# Errors.


def test_the_first_error_cancels_what_waits_and_asks_what_runs_to_stop(pool: ThreadPool) -> None:
    runs = Heeding()
    waiting: list[Future[int]] = []

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        running = group.submit(runs)
        assert runs.entered.wait(5)
        gate = Gate(group)
        failing = group.submit(fail)
        waiting = [group.submit(int) for _ in range(1000)]
        gate.open()

    assert isinstance(failing.exception(), ValueError)
    assert runs.left.is_set()
    assert running.cancelled()
    assert all(future.cancelled() for future in waiting)
    assert caught.value.exceptions == (failing.exception(),)
    assert lost(pool.stats()) == 0


def test_no_call_of_the_group_starts_after_the_first_error(narrow: ThreadPool) -> None:
    started: list[int] = []

    with pytest.raises(ExceptionGroup), narrow.group() as group:
        gate = Gate(narrow)
        group.submit(fail)
        for n in range(1000):
            group.submit(started.append, n)
        gate.open()

    assert started == []


def test_no_call_starts_after_the_first_error_although_cancelling_the_others_takes_long(pool: ThreadPool) -> None:
    started: list[int] = []
    busy, passed, first = Gate(pool), threading.Event(), threading.Lock()

    def let_the_other_worker_pass_all_of_them(_: object) -> None:
        if not passed.is_set() and first.acquire(blocking=False):  # the worker that cancels; then the other comes by
            busy.open()
            assert passed.wait(5)

    with pytest.raises(ExceptionGroup), pool.group() as group:
        gate = Gate(pool)
        group.submit(fail)
        for n in range(100):
            group.submit(started.append, n).add_done_callback(let_the_other_worker_pass_all_of_them)
        pool.submit(passed.set)
        gate.open()

    assert started == []


def test_the_errors_are_the_original_ones_with_their_tracebacks(pool: ThreadPool) -> None:
    error = ValueError("mine")

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        group.submit(fail, error)

    [kept] = caught.value.exceptions
    trace, names = kept.__traceback__, []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert kept is error
    assert names[-1] == "fail"


def test_errors_of_calls_that_were_running_when_the_first_came_arrive_too(pool: ThreadPool) -> None:
    first, second = ValueError("first"), KeyError("second")

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        entered, failed = threading.Event(), threading.Event()

        def fail_later() -> None:
            entered.set()
            assert failed.wait(5)
            raise second

        group.submit(fail_later)
        assert entered.wait(5)
        group.submit(fail, first).exception()
        failed.set()

    assert set(caught.value.exceptions) == {first, second}


def test_the_error_that_the_body_gets_from_a_result_arrives_once(pool: ThreadPool) -> None:
    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        group.submit(fail).result()

    assert len(caught.value.exceptions) == 1


def test_an_error_of_the_body_alone_passes_unchanged_and_cancels_the_rest(narrow: ThreadPool) -> None:
    error = LookupError("body")
    runs = Heeding()

    with pytest.raises(LookupError) as caught, narrow.group() as group:
        running = group.submit(runs)
        assert runs.entered.wait(5)
        waiting = group.submit(int)
        raise error

    assert caught.value is error
    assert running.cancelled()
    assert waiting.cancelled()


def test_an_error_of_the_body_comes_first_among_those_of_calls(pool: ThreadPool) -> None:
    error = LookupError("body")

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        failed = group.submit(fail)
        failed.exception()
        raise error

    assert caught.value.exceptions == (error, failed.exception())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_and_sys_exit_in_the_body_pass_unchanged_and_cancel_the_rest(
    narrow: ThreadPool, kind: type[BaseException]
) -> None:
    gate = Gate(narrow)

    with pytest.raises(kind), narrow.group() as group:
        waiting = group.submit(int)
        threading.Timer(0.01, gate.open).start()
        raise kind

    assert waiting.cancelled()


@pytest.mark.slow
def test_ctrl_c_waits_half_a_second_for_a_call_that_takes_no_notice(narrow: ThreadPool) -> None:
    with pytest.raises(KeyboardInterrupt), narrow.group() as group:
        gate = Gate(group)
        began = time.monotonic()
        raise KeyboardInterrupt

    assert 0.4 < time.monotonic() - began < 2
    assert not gate.future.done()
    with pytest.raises(PoolClosed):
        group.submit(int)
    gate.open()


def test_ctrl_c_while_leaving_cancels_the_rest_and_waits_for_it(narrow: ThreadPool) -> None:
    runs = Heeding()

    def press() -> None:
        assert runs.entered.wait(5)
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt), narrow.group() as group:
        running = group.submit(runs)
        threading.Thread(target=press).start()

    assert running.cancelled()


def test_a_cancelled_call_is_no_error(narrow: ThreadPool) -> None:
    with narrow.group() as group:
        gate = Gate(group)
        waiting = group.submit(int)
        assert waiting.cancel()
        gate.open()

    assert not group.cancelled


def test_a_call_that_heard_of_the_cancelling_before_it_was_asked_to_stop_is_no_error(pool: ThreadPool) -> None:
    """It waits for a call that is cancelled, and is itself one of those that come later in `cancel`."""
    scope = GroupScope(None, float("inf"), lambda: None)
    sealed = threading.Event()

    def listen() -> None:
        assert sealed.wait(5)
        raise CancelledError

    future = PoolView(pool, Options(scope=scope)).submit(listen)
    scope.seal()
    sealed.set()

    assert isinstance(future.exception(5), CancelledError)
    assert scope.errors == []


def test_errors_of_calls_submitted_from_within_are_their_callers_business(pool: ThreadPool) -> None:
    def recover() -> str:
        try:
            pool.submit(fail).result()
        except ValueError:
            return "recovered"
        return "nothing to recover from"

    with pool.group() as group:
        future = group.submit(recover)

    assert future.result() == "recovered"
    assert not group.cancelled


def test_a_system_exit_in_a_call_arrives_in_a_base_exception_group(pool: ThreadPool) -> None:
    with pytest.raises(BaseExceptionGroup) as caught, pool.group() as group:
        group.submit(fail, SystemExit(3))

    assert isinstance(caught.value.exceptions[0], SystemExit)


def test_a_callback_that_exits_does_not_keep_the_others_from_being_cancelled(narrow: ThreadPool) -> None:
    with narrow.group() as group:
        gate = Gate(narrow)
        futures = [group.submit(int) for _ in range(20)]
        for future in futures:
            future.add_done_callback(lambda _: fail(SystemExit()))

        with pytest.raises(SystemExit):
            group.cancel()

        assert all(future.cancelled() for future in futures)
        gate.open()


@pytest.mark.slow
def test_the_first_error_reaches_a_running_call_within_100_ms_although_100_000_wait(pool: ThreadPool) -> None:
    seen: list[float] = []

    def run() -> None:
        try:
            wait_for_the_end()
        finally:
            seen.append(time.monotonic())

    def fail_now() -> None:
        seen.append(time.monotonic())
        raise ValueError

    unbounded = ThreadPool(2, queue_size=None)
    with pytest.raises(ExceptionGroup), unbounded.group() as group:
        group.submit(run)
        gate = Gate(group)
        group.submit(fail_now)
        for _ in range(100_000):
            group.submit(int)
        gate.open()
    unbounded.shutdown()

    failed_at, ended_at = seen
    assert ended_at - failed_at < 0.5  # measured: 1 to 20 ms; a busy machine may need longer


# Cancelling.


def test_cancel_ends_all_without_an_error(narrow: ThreadPool) -> None:
    runs = Heeding()

    with narrow.group() as group:
        running = group.submit(runs)
        assert runs.entered.wait(5)
        waiting = group.submit(int)
        group.cancel()
        late = group.submit(int)

        assert late.cancelled()
        assert group.cancelled

    assert running.cancelled()
    assert waiting.cancelled()
    assert lost(narrow.stats()) == 0


def test_a_submit_to_a_cancelled_group_does_not_wait_for_a_place() -> None:
    with ThreadPool(1, queue_size=1) as pool, pool.group() as group:
        gate = Gate(pool)
        filler = pool.submit(int)
        group.cancel()

        late = group.submit(int)

        assert late.cancelled()
        assert lost(pool.stats()) == 0
        gate.open()
        filler.result()


def test_cancel_reaches_what_calls_have_submitted_from_within_to_another_pool(pool: ThreadPool) -> None:
    with ThreadPool(1) as other:
        gate = Gate(other)
        inner: list[Future[int]] = []
        submitted = threading.Event()

        def submit_and_wait() -> int:
            inner.append(other.submit(int))
            submitted.set()
            return inner[0].result()

        with pool.group() as group:
            outer = group.submit(submit_and_wait)
            assert submitted.wait(5)
            group.cancel()

        assert inner[0].cancelled()
        assert outer.cancelled()
        gate.open()


@pytest.mark.untraced
def test_cancel_interrupts_calls_that_ask_for_it(narrow: ThreadPool) -> None:
    entered = threading.Event()

    def spin() -> None:
        entered.set()
        while True:
            pass

    with narrow.group() as group:
        future = group.with_options(interrupt=True).submit(spin)
        assert entered.wait(5)
        group.cancel()

    assert future.cancelled()


def test_a_view_of_a_group_and_a_group_of_a_view_keep_both(narrow: ThreadPool) -> None:
    gate = Gate(narrow)
    order: list[str] = []
    with narrow.with_options(priority=1).group() as group:
        group.submit(order.append, "second")
        group.with_options(priority=2).submit(order.append, "first")
        narrow.submit(order.append, "last")
        gate.open()

    assert order[:2] == ["first", "second"]


def test_an_outer_group_cancels_the_inner_one(pool: ThreadPool) -> None:
    with pool.group() as outer, outer.group() as inner:
        gate = Gate(pool), Gate(pool)
        waiting = inner.submit(int)
        outer.cancel()

        assert waiting.cancelled()
        assert inner.cancelled
        for each in gate:
            each.open()


def test_a_group_inside_of_a_cancelled_call_is_cancelled(pool: ThreadPool) -> None:
    entered = threading.Event()
    inner: list[Future[None]] = []

    def run_group() -> None:
        with pool.group() as group:
            inner.append(group.submit(wait_for_the_end))
            entered.set()

    outer = pool.submit(run_group)
    assert entered.wait(5)

    assert cast("Task", outer).cancel(running=True)

    with pytest.raises(CancelledError):
        inner[0].result(5)


# Inside of workers.


def test_a_group_in_a_worker_of_a_pool_with_one_worker_runs_its_calls(narrow: ThreadPool) -> None:
    def run_group() -> list[int]:
        with narrow.group() as group:
            futures = [group.submit(int, n) for n in range(50)]
        return [future.result(0) for future in futures]

    assert narrow.submit(run_group).result(5) == list(range(50))


@pytest.mark.slow
def test_groups_in_groups_to_a_depth_of_300_end_on_one_worker(narrow: ThreadPool) -> None:
    def descend(n: int) -> int:
        if n == 0:
            return 0
        with narrow.group() as group:
            future = group.submit(descend, n - 1)
        return future.result(0) + 1

    assert narrow.submit(descend, 300).result(15) == 300
    assert lost(narrow.stats()) == 0


def test_a_group_over_two_pools_that_wait_for_each_other_ends(narrow: ThreadPool) -> None:
    with ThreadPool(1) as other:

        def ask_back() -> int:
            return narrow.submit(int, 5).result()

        def run_group() -> int:
            with other.group() as group:
                future = group.submit(ask_back)
            return future.result(0)

        assert narrow.submit(run_group).result(5) == 5


def test_an_error_in_a_group_in_a_worker_fails_the_call_with_the_group(narrow: ThreadPool) -> None:
    def run_group() -> None:
        with narrow.group() as group:
            group.submit(fail)

    with pytest.raises(ExceptionGroup, match="calls of a group failed"):
        narrow.submit(run_group).result(5)


# Time.


def test_at_the_deadline_what_waits_fails_and_what_is_stuck_is_written_off(narrow: ThreadPool) -> None:
    with pytest.raises(ExceptionGroup) as caught, narrow.group(total_timeout=0.05) as group:
        gate = Gate(group)
        waiting = [group.submit(int) for _ in range(10)]

    errors = caught.value.exceptions
    assert len(errors) == 11
    assert all(isinstance(error, TaskTimeout) for error in errors)
    assert all(isinstance(future.exception(0), TaskTimeout) for future in waiting)
    assert not gate.future.running()
    assert narrow.stats().written_off == 1
    gate.open()


def test_at_the_deadline_each_call_that_waits_times_out_by_itself(narrow: ThreadPool) -> None:
    gate = Gate(narrow)

    with pytest.raises(ExceptionGroup) as caught, narrow.group(total_timeout=0.05) as group:
        for _ in range(50):
            group.submit(int)

    assert [type(error) for error in caught.value.exceptions] == [TaskTimeout] * 50
    assert narrow.stats().timed_out == 50
    gate.open()


def test_a_group_with_a_deadline_in_a_worker_ends_on_time_although_its_call_is_stuck(narrow: ThreadPool) -> None:
    release = threading.Event()

    def run_group() -> None:
        with narrow.group(total_timeout=0.05) as group:
            group.submit(release.wait, 10)

    with pytest.raises(ExceptionGroup):
        narrow.submit(run_group).result(5)
    release.set()


def test_the_deadline_reaches_what_calls_submit_from_within(pool: ThreadPool) -> None:
    left: list[float | None] = []

    def look() -> None:
        task = current_task()
        assert task is not None
        left.append(task.remaining)

    with pool.group(total_timeout=60) as group:
        group.submit(lambda: pool.submit(look).result()).result()

    assert left[0] is not None
    assert 50 < left[0] <= 60


def test_a_timeout_of_one_call_is_an_error_that_cancels_the_rest(pool: ThreadPool) -> None:
    runs, release = Heeding(), threading.Event()

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:
        running = group.submit(runs)
        assert runs.entered.wait(5)
        group.with_options(timeout=0.02).submit(release.wait, 10)

    assert [type(error) for error in caught.value.exceptions] == [TaskTimeout]
    assert running.cancelled()
    release.set()


@pytest.mark.parametrize("total_timeout", [0, -1, True, "1", float("nan")])
def test_a_total_timeout_is_a_number_of_seconds(pool: ThreadPool, total_timeout: Any) -> None:
    with pytest.raises(ValueError, match="total_timeout must be a number of seconds"):
        pool.group(total_timeout=total_timeout)


# With asyncio.


def test_an_async_group_waits_without_blocking_the_loop(pool: ThreadPool) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticker = asyncio.create_task(tick())
        async with pool.group() as group:
            gate = Gate(group)
            group.submit(int)
            threading.Timer(0.05, gate.open).start()
        ticker.cancel()
        assert gate.future.done()
        return ticks

    assert asyncio.run(main()) > 5


def test_an_async_group_hands_out_results(pool: ThreadPool) -> None:
    async def main() -> tuple[int, int]:
        async with pool.group() as group:
            future = group.submit(pow, 2, 3)
            return await group.run(pow, 2, 4), await future

    assert asyncio.run(main()) == (16, 8)


def test_an_error_cancels_the_body_of_an_async_group_and_leaves_the_task_uncancelled(pool: ThreadPool) -> None:
    async def main() -> int:
        with pytest.raises(ExceptionGroup) as caught:
            async with pool.group() as group:
                group.submit(fail)
                await asyncio.sleep(10)
        assert len(caught.value.exceptions) == 1
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_an_awaited_error_arrives_once(pool: ThreadPool) -> None:
    async def main() -> None:
        async with pool.group() as group:
            await group.run(fail)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert len(caught.value.exceptions) == 1


def test_an_error_of_an_async_body_alone_passes_unchanged(narrow: ThreadPool) -> None:
    async def main() -> Future[int]:
        gate = Gate(narrow)
        with pytest.raises(LookupError):
            async with narrow.group() as group:
                waiting = group.submit(int)
                raise LookupError
        gate.open()
        return waiting

    assert asyncio.run(main()).cancelled()


def test_cancelling_the_task_of_an_async_group_cancels_its_calls_and_arrives(narrow: ThreadPool) -> None:
    runs = Heeding()
    futures: list[Future[None]] = []

    async def use_group() -> None:
        async with narrow.group() as group:
            futures.append(group.submit(runs))
            await asyncio.sleep(10)

    async def main() -> None:
        task = asyncio.create_task(use_group())
        await asyncio.to_thread(runs.entered.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert futures[0].cancelled()


def test_cancelling_the_task_while_it_leaves_cancels_the_calls_and_waits_for_them(narrow: ThreadPool) -> None:
    runs = Heeding()
    futures: list[Future[None]] = []

    async def use_group() -> None:
        async with narrow.group() as group:
            futures.append(group.submit(runs))

    async def main() -> None:
        task = asyncio.create_task(use_group())
        await asyncio.to_thread(runs.entered.wait, 5)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert futures[0].cancelled()
    assert runs.left.is_set()


def test_asyncio_timeout_around_a_group_ends_it_with_timeout_error(narrow: ThreadPool) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.02):
            async with narrow.group() as group:
                group.submit(wait_for_the_end)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_errors_take_the_place_of_a_cancellation_which_strikes_at_the_next_await(pool: ThreadPool) -> None:
    async def use_group() -> str:
        try:
            async with pool.group() as group:
                failed = group.submit(fail)
                failed.exception()
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(10)
        except* ValueError:
            pass
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "cancelled"
        return "not cancelled"

    async def main() -> str:
        return await asyncio.create_task(use_group())

    assert asyncio.run(main()) == "cancelled"


def test_cancelling_an_async_group_raises_nothing_and_leaves_its_body_alone(narrow: ThreadPool) -> None:
    async def main() -> bool:
        gate = Gate(narrow)
        async with narrow.group() as group:
            waiting = group.submit(int)
            group.cancel()
            await asyncio.sleep(0)
            gate.open()
        return waiting.cancelled()

    assert asyncio.run(main())


def test_async_groups_in_each_other_cancel_the_inner_one_first(pool: ThreadPool) -> None:
    ended: list[Future[None]] = []

    async def main() -> None:
        async with pool.group() as outer, pool.group() as inner:
            ended.append(inner.submit(wait_for_the_end))
            outer.submit(fail)
            await asyncio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())

    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert ended[0].cancelled()


def test_an_async_group_with_a_deadline_fails_on_time(narrow: ThreadPool) -> None:
    release = threading.Event()

    async def main() -> None:
        async with narrow.group(total_timeout=0.05) as group:
            group.submit(release.wait, 10)
            group.submit(int)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    release.set()

    assert [type(error) for error in caught.value.exceptions] == [TaskTimeout, TaskTimeout]


def test_async_with_needs_an_asyncio_task(pool: ThreadPool) -> None:
    with pytest.raises(RuntimeError, match="use `with`"):
        pool.group().__aenter__().send(None)


# Of coroutines.


def test_an_error_cancels_the_coroutines_of_a_group() -> None:
    async def sleep_long(entered: threading.Event) -> None:
        entered.set()
        await asyncio.sleep(10)

    async def fail_soon() -> None:
        raise ValueError

    with CoroutinePool(2) as pool:
        with pytest.raises(ExceptionGroup), pool.group() as group:
            entered = threading.Event()
            sleeping = group.submit(sleep_long, entered)
            assert entered.wait(5)
            group.submit(fail_soon)

        assert sleeping.cancelled()


def test_groups_in_groups_of_coroutines_end_although_one_runs_at_a_time() -> None:
    with CoroutinePool(1) as pool:

        async def descend(n: int) -> int:
            if n == 0:
                return 0
            async with pool.group() as group:
                future = group.submit(descend, n - 1)
            return cast("int", await future) + 1

        assert pool.submit(descend, 30).result(10) == 30


# Asked to stop.


def test_a_group_that_is_interrupted_while_it_is_left_leaves_nothing_behind(pool: ThreadPool) -> None:
    runs = Heeding()

    def run_group() -> None:
        with pool.group() as group:
            group.submit(runs)

    outer = pool.with_options(interrupt=True).submit(run_group)
    assert runs.entered.wait(5)
    cast("Task", outer).cancel(running=True)

    with pytest.raises((CancelledError, Interrupted, TaskCancelled)):
        outer.result(5)
    assert runs.left.is_set()
