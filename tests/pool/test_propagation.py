from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any, cast

import pytest

from millhand import Future, TaskTimeout, ThreadPool
from millhand.core.errors import TaskCancelled
from millhand.pool.current import check_cancelled, current_task
from millhand.pool.task import Task
from tests.pool.gate import Gate, lost


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(2) as pool:
        yield pool


def stop(future: Future[Any]) -> bool:
    """Cancel a call, also when it is running."""
    return cast("Task", future).cancel(running=True)


def wait_for_the_end() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        check_cancelled()
        time.sleep(0.001)
    raise AssertionError("nobody asked it to stop")


def remaining() -> float | None:
    task = current_task()
    return None if task is None else task.remaining


class Family:
    """A running call, and one that it has submitted to another pool where it waits."""

    def __init__(self, pool: ThreadPool, other: ThreadPool, **options: Any) -> None:
        self.submitted, self.go_on = threading.Event(), threading.Event()
        self.gate = Gate(other)
        self.children: list[Future[int]] = []
        self._other = other
        self.parent = pool.with_options(**options).submit(self._run)
        assert self.submitted.wait(5)

    def _run(self) -> None:
        self.children.append(self._other.submit(int))
        self.submitted.set()
        assert self.go_on.wait(10)
        self.children.append(self._other.submit(int))

    def end(self) -> None:
        self.go_on.set()
        self.gate.open()


@pytest.fixture
def other() -> Iterator[ThreadPool]:
    with ThreadPool(1) as other:
        yield other


# Cancelling.


def test_a_call_that_is_asked_to_stop_ends_as_cancelled_when_it_notices(pool: ThreadPool) -> None:
    entered = threading.Event()

    def run() -> None:
        entered.set()
        wait_for_the_end()

    future = pool.submit(run)
    assert entered.wait(5)

    assert stop(future)

    with pytest.raises(CancelledError):
        future.result(5)
    assert (pool.stats().cancelled, lost(pool.stats())) == (1, 0)


def test_a_call_that_takes_no_notice_ends_as_it_does(pool: ThreadPool) -> None:
    gate = Gate(pool)

    assert stop(gate.future)
    gate.open()

    assert gate.future.result(5) is None


def test_a_task_cancelled_error_of_a_call_that_nobody_asked_is_a_failure(pool: ThreadPool) -> None:
    def run() -> None:
        raise TaskCancelled("run")

    assert isinstance(pool.submit(run).exception(5), TaskCancelled)


def test_cancelling_a_running_call_cancels_what_it_has_submitted(pool: ThreadPool, other: ThreadPool) -> None:
    family = Family(pool, other)

    stop(family.parent)

    assert family.children[0].cancelled()
    family.end()


def test_cancelling_a_running_call_cancels_what_it_submits_from_now_on(pool: ThreadPool, other: ThreadPool) -> None:
    family = Family(pool, other)
    stop(family.parent)

    family.go_on.set()
    family.parent.result(5)

    assert family.children[1].cancelled()
    family.end()


def test_a_call_that_was_asked_before_its_first_submit_submits_cancelled_ones(pool: ThreadPool) -> None:
    gate, inner = Gate(pool), list[Future[int]]()

    def run() -> None:
        gate.future.result()
        inner.append(pool.submit(int))

    future = pool.submit(run)
    while not future.running():
        threading.Event().wait(0.001)
    stop(future)
    gate.open()
    future.result(5)

    assert inner[0].cancelled()


def test_cancelling_goes_all_the_way_down(pool: ThreadPool) -> None:
    depth = 30
    bottom, deepest = threading.Event(), list[Future[None]]()

    def descend(n: int) -> None:
        if n == 0:
            bottom.set()
            wait_for_the_end()
        future: Future[None] = pool.submit(descend, n - 1)
        deepest.append(future)
        future.result(10)

    top = pool.submit(descend, depth)
    assert bottom.wait(10)

    stop(top)

    with pytest.raises(CancelledError):
        top.result(10)
    assert len(deepest) == depth
    assert all(future.cancelled() for future in deepest)


def test_what_a_call_has_submitted_outlives_it_if_it_returns(pool: ThreadPool, other: ThreadPool) -> None:
    family = Family(pool, other)

    family.go_on.set()
    family.parent.result(5)
    family.end()

    assert [child.result(5) for child in family.children] == [0, 0]


def test_cancelling_reaches_what_was_submitted_by_calls_that_have_ended(pool: ThreadPool, other: ThreadPool) -> None:
    gate, submitted = Gate(other), threading.Event()
    grandchildren: list[Future[int]] = []

    def submit_and_end() -> None:
        grandchildren.append(other.submit(int))

    def run() -> None:
        pool.submit(submit_and_end).result()
        submitted.set()
        wait_for_the_end()

    parent = pool.submit(run)
    assert submitted.wait(5)

    stop(parent)

    assert grandchildren[0].cancelled()
    gate.open()


def test_calls_of_a_pool_that_copies_no_context_are_children_all_the_same(pool: ThreadPool) -> None:
    with ThreadPool(1, copy_context=False) as other:
        family = Family(pool, other)

        stop(family.parent)

        assert family.children[0].cancelled()
        family.end()


def test_what_a_call_in_a_pool_that_copies_no_context_submits_is_its_child(other: ThreadPool) -> None:
    with ThreadPool(1, copy_context=False) as pool:
        family = Family(pool, other)

        stop(family.parent)

        assert family.children[0].cancelled()
        family.end()


def test_a_cancelled_child_does_not_wait_for_a_place() -> None:
    with ThreadPool(1) as pool, ThreadPool(1, queue_size=1) as other:
        family = Family(pool, other)
        stop(family.parent)

        family.go_on.set()
        family.parent.result(5)  # it submits once more: the cancelled one has the only place, and it would wait

        assert family.children[1].cancelled()
        family.end()
        assert lost(other.stats()) == 0


# Time.


def test_a_run_timeout_reaches_what_the_call_has_submitted(pool: ThreadPool, other: ThreadPool) -> None:
    family = Family(pool, other, timeout=0.05)

    with pytest.raises(TaskTimeout):
        family.parent.result(5)

    with pytest.raises((CancelledError, TaskTimeout)):
        family.children[0].result(5)
    family.end()


def test_a_timed_out_call_cancels_its_children_although_they_have_no_deadline_of_their_own(pool: ThreadPool) -> None:
    """Its scope was dissolved at its end, before it was to cancel them, and they ran on."""
    entered, release = threading.Event(), threading.Event()
    children: list[Future[None]] = []

    def child() -> None:
        entered.set()
        wait_for_the_end()

    def parent() -> None:
        children.append(pool.submit(child))
        assert entered.wait(5)
        assert release.wait(10)

    future = pool.with_options(timeout=0.1).submit(parent)
    with pytest.raises(TaskTimeout):
        future.result(5)

    with pytest.raises((CancelledError, TaskTimeout)):
        children[0].result(5)
    release.set()


def test_a_timed_out_call_that_goes_on_submits_cancelled_calls(pool: ThreadPool, other: ThreadPool) -> None:
    family = Family(pool, other, timeout=0.02)
    with pytest.raises(TaskTimeout):
        family.parent.result(5)

    family.end()
    while len(family.children) < 2:
        threading.Event().wait(0.001)

    assert family.children[1].cancelled()


def test_a_timed_out_call_that_has_submitted_nothing_yet_submits_cancelled_calls(pool: ThreadPool) -> None:
    release, children = threading.Event(), list[Future[int]]()
    late = threading.Event()

    def run() -> None:
        assert release.wait(10)
        children.append(pool.submit(int))
        late.set()

    with pytest.raises(TaskTimeout):
        pool.with_options(timeout=0.02).submit(run).result(5)
    release.set()

    assert late.wait(5)
    assert children[0].cancelled()


@pytest.mark.parametrize("option", ["timeout", "total_timeout"])
def test_a_deadline_is_inherited_in_any_depth_and_across_pools(
    pool: ThreadPool, other: ThreadPool, option: str
) -> None:
    def grandchild() -> float | None:
        return remaining()

    def child() -> float | None:
        return pool.submit(grandchild).result()

    options: dict[str, Any] = {option: 60}
    left = pool.with_options(**options).submit(lambda: other.submit(child).result()).result(5)

    assert left is not None
    assert 50 < left <= 60


def test_a_childs_own_deadline_counts_if_it_comes_first(pool: ThreadPool) -> None:
    def parent() -> float | None:
        return pool.with_options(total_timeout=30).submit(remaining).result()

    left = pool.with_options(total_timeout=60).submit(parent).result(5)

    assert left is not None
    assert left <= 30


def test_a_parents_deadline_counts_if_it_comes_first(pool: ThreadPool) -> None:
    def parent() -> float | None:
        return pool.with_options(total_timeout=60).submit(remaining).result()

    left = pool.with_options(total_timeout=30).submit(parent).result(5)

    assert left is not None
    assert left <= 30


def test_the_deadline_of_a_pool_reaches_what_its_calls_submit_elsewhere(other: ThreadPool) -> None:
    with ThreadPool(1, total_timeout=60) as pool:
        left = pool.submit(lambda: other.submit(remaining).result()).result(5)

    assert left is not None
    assert left <= 60


def test_an_inherited_deadline_ends_a_waiting_child_on_time(pool: ThreadPool, other: ThreadPool) -> None:
    family = Family(pool, other, total_timeout=0.05)

    with pytest.raises((TaskTimeout, CancelledError)):
        family.children[0].result(5)
    family.end()


def test_what_has_no_deadline_above_it_has_none(pool: ThreadPool) -> None:
    assert pool.submit(lambda: pool.submit(remaining).result()).result(5) is None


def test_a_callback_inherits_no_deadline_of_the_call_that_has_ended(pool: ThreadPool) -> None:
    later: list[Future[float | None]] = []
    gate = Gate(pool)

    future = pool.with_options(total_timeout=60).submit(gate.future.result)
    future.add_done_callback(lambda _: later.append(pool.submit(remaining)))
    gate.open()
    future.result(5)
    while not later:
        threading.Event().wait(0.001)

    assert later[0].result(5) is None


def test_nor_does_a_callback_of_a_call_that_ran_inside_of_another_one(pool: ThreadPool) -> None:
    later: list[Future[float | None]] = []
    gate = Gate(pool)  # one worker of two: so that the inner call waits until it is run by the outer one

    def outer() -> None:
        inner = pool.submit(int)
        inner.add_done_callback(lambda _: later.append(pool.submit(remaining)))
        inner.result()

    pool.with_options(total_timeout=60).submit(outer).result(5)
    gate.open()

    assert later[0].result(5) is None


def test_an_alarm_does_not_outlive_its_call(pool: ThreadPool) -> None:
    """Kept until it rings, each would keep its call: an hour's worth of them, with a deadline of an hour."""
    view = pool.with_options(total_timeout=3600)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for future in [view.submit(int) for _ in range(5_000)]:
            future.result(5)
    finally:
        sys.setswitchinterval(interval)

    alarms = cast("Any", pool)._crew.timers  # noqa: SLF001 - nothing public tells how many alarms are set
    while any(entry[-1].action is not None for entry in tuple(alarms._heap)):  # noqa: SLF001 - the same
        threading.Event().wait(0.001)  # a result can be had a moment before the alarm is called off


# What it costs.


def test_check_cancelled_outside_of_a_call_does_nothing() -> None:
    check_cancelled()


@pytest.mark.slow
def test_check_cancelled_costs_less_than_a_microsecond(pool: ThreadPool) -> None:
    def measure() -> float:
        began = time.perf_counter()
        for _ in range(100_000):
            check_cancelled()
        return (time.perf_counter() - began) / 100_000

    assert min(pool.submit(measure).result(10) for _ in range(5)) < 1e-6  # measured: 0.13 µs
