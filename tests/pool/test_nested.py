from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from typing import Any

import pytest

from millhand import ThreadPool
from millhand.core.errors import NestedWaitLimit
from millhand.pool.current import current_task
from tests.pool.gate import Gate, lost


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """A pool of one: whoever waits in it for another call of it would wait for ever."""
    with ThreadPool(1) as pool:
        yield pool
        assert lost(pool.stats()) == 0


def back_to(pool: ThreadPool, size: int) -> bool:
    deadline = time.monotonic() + 2
    while pool.stats().workers > size and time.monotonic() < deadline:
        pass
    return pool.stats().workers == size


@pytest.mark.slow
def test_nested_waits_to_a_depth_of_1000_on_one_worker_finish(pool: ThreadPool) -> None:
    def depth(left: int) -> int:
        return 1 + pool.submit(depth, left - 1).result() if left else 0

    assert pool.submit(depth, 1_000).result(15) == 1_000
    assert pool.submit(int, "5").result(5) == 5
    assert back_to(pool, 1)
    assert (pool.stats().done, pool.stats().written_off) == (1_002, 0)


def test_many_waits_one_beside_the_other_finish(pool: ThreadPool) -> None:
    def tree(depth: int) -> int:
        futures = [pool.submit(tree, depth - 1) for _ in range(3)] if depth else []
        return 1 + sum(future.result() for future in futures)

    assert pool.submit(tree, 5).result(10) == 364


@pytest.mark.parametrize("ask", ["result", "exception"])
def test_who_waits_runs_the_call_himself(pool: ThreadPool, ask: str) -> None:
    def outer() -> tuple[int, int]:
        inner = pool.submit(threading.get_ident)
        getattr(inner, ask)()
        return threading.get_ident(), inner.result()

    mine, inner = pool.submit(outer).result(5)

    assert mine == inner
    assert pool.stats().workers == 1


def test_a_call_run_inside_of_another_has_its_own_context_and_name(pool: ThreadPool) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def inner() -> str:
        variable.set(2)
        return current_task().name  # type: ignore[union-attr]  # it runs in a call

    def outer() -> tuple[str, int, str]:
        variable.set(1)
        name = pool.submit(inner).result()
        return name, variable.get(), current_task().name  # type: ignore[union-attr]  # it runs in a call

    name, value, mine = pool.submit(outer).result(5)

    assert (name.rpartition(".")[2], value, mine.rpartition(".")[2]) == ("inner", 1, "outer")


def test_an_error_passes_through_nested_waits(pool: ThreadPool) -> None:
    def outer(depth: int) -> None:
        if not depth:
            raise KeyError("innermost")
        pool.submit(outer, depth - 1).result()

    with pytest.raises(KeyError, match="innermost"):
        pool.submit(outer, 5).result(5)

    assert pool.stats().failed == 6


def test_a_wait_with_a_timeout_has_somebody_stand_in(pool: ThreadPool) -> None:
    def outer() -> tuple[int, int]:
        return threading.get_ident(), pool.submit(threading.get_ident).result(timeout=5)

    mine, other = pool.submit(outer).result(10)

    assert mine != other
    assert pool.submit(int).result(5) == 0
    assert back_to(pool, 1)


def test_only_to_look_hires_nobody(pool: ThreadPool) -> None:
    """Found by reading: a worker that polled with timeout=0 had somebody stand in for it each time."""

    def outer() -> int:
        inner = pool.submit(int)
        for _ in range(10):
            with pytest.raises(TimeoutError):
                inner.result(timeout=0)
        return pool.stats().workers

    assert pool.submit(outer).result(5) == 1


@pytest.mark.parametrize("limits", [{"timeout": 5}, {"total_timeout": 5}, {"interrupt": True}, {"priority": 3}])
def test_a_call_with_options_can_be_waited_for_inside(pool: ThreadPool, limits: Any) -> None:
    def outer() -> int:
        return pool.with_options(**limits).submit(int, "7").result()

    assert pool.submit(outer).result(5) == 7
    assert pool.with_options(**limits).submit(outer).result(5) == 7


def test_the_standard_library_can_wait_inside(pool: ThreadPool) -> None:
    def outer() -> tuple[int, int, int]:
        futures = [pool.submit(int, str(n)) for n in range(5)]
        done = len(wait(futures, 5).done)
        first = len(wait([pool.submit(int) for _ in range(3)], 5, FIRST_COMPLETED).done)
        return done, first, sum(future.result() for future in as_completed(futures, 5))

    done, first, total = pool.submit(outer).result(10)

    assert (done, total) == (5, 10)
    assert 1 <= first <= 3
    assert pool.submit(int).result(5) == 0
    assert back_to(pool, 1)


def test_a_wait_in_the_middle_of_as_completed_sends_nobody_away_who_is_still_needed(pool: ThreadPool) -> None:
    """Found by reading: the stand-in of as_completed left when the wait inside of it was over, and all hung."""
    step = threading.Semaphore(0)

    def outer() -> int:
        futures = [pool.submit(step.acquire, timeout=5) for _ in range(3)]
        step.release()
        ended = 0
        for _ in as_completed(futures, 5):
            ended += 1
            if ended == 1:
                with pytest.raises(TimeoutError):
                    pool.submit(int).result(timeout=0.01)  # behind those that wait for their step
            step.release()
        return ended

    assert pool.submit(outer).result(10) == 3


def test_two_calls_that_wait_for_each_others_children_finish() -> None:
    with ThreadPool(2) as pool:
        barrier = threading.Barrier(2)
        children: list[Future[int]] = []

        def outer(n: int) -> int:
            children.append(pool.submit(int, str(n)))
            barrier.wait(5)
            return sum(child.result() for child in children)

        first, _ = pool.submit(outer, 1), pool.submit(outer, 2)

        assert first.result(5) == 3


def test_a_worker_may_wait_for_another_pool() -> None:
    with ThreadPool(1) as one, ThreadPool(1) as other:

        def back_and_forth(left: int, here: ThreadPool, there: ThreadPool) -> int:
            return 1 + there.submit(back_and_forth, left - 1, there, here).result() if left else 0

        assert one.submit(back_and_forth, 1, one, other).result(5) == 1


def test_waiting_for_a_cancelled_or_ended_call_needs_nobody(pool: ThreadPool) -> None:
    def outer() -> tuple[bool, int]:
        gone, ended = pool.submit(int), pool.submit(int, "1")
        gone.cancel()
        return wait([gone], 1).not_done == set(), ended.result() + ended.result()

    assert pool.submit(outer).result(5) == (True, 2)


def test_a_worker_that_waits_is_seen_waiting() -> None:
    with ThreadPool(2, "mill") as pool:
        gate = Gate(pool)
        entered = threading.Event()
        gone_in: list[str] = []

        def outer() -> None:
            entered.set()
            gate.future.result(timeout=5)

        future = pool.submit(outer)
        assert entered.wait(5)
        deadline = time.monotonic() + 2
        while "waiting" not in gone_in and time.monotonic() < deadline:
            gone_in = [each.state for each in pool.stats().table]
        gate.open()
        future.result(5)

    assert sorted(gone_in) == ["running", "waiting"]


@pytest.mark.slow
def test_too_many_waits_inside_of_each_other_name_the_chain() -> None:
    def deeper() -> None:
        pool.submit(deeper).result(timeout=15)

    threads = threading.active_count()
    with ThreadPool(1) as pool:
        with pytest.raises(NestedWaitLimit) as caught:
            pool.submit(deeper).result(15)

        assert caught.value.limit == 1_000
        assert len(caught.value.chain) >= 2
        assert all(name.endswith("deeper") for name in caught.value.chain)
        assert "let calls return what is left" in str(caught.value)
        assert pool.submit(int).result(15) == 0
    assert threading.active_count() == threads
    assert pool.stats().failed > 1_000
    assert lost(pool.stats()) == 0
