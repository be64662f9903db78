from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, cast

import pytest

from millhand import Future, TaskTimeout, ThreadPool
from millhand.pool.current import check_cancelled, shield
from millhand.pool.interrupt import Guard, Interrupted
from millhand.pool.task import Task
from tests.pool.gate import Gate, lost


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(1) as pool:
        yield pool


def stop(future: Future[Any]) -> bool:
    """Cancel a call, also when it is running."""
    return cast("Task", future).cancel(running=True)


class Spinning:
    """A call that never looks whether it should stop."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.struck: list[BaseException] = []

    def __call__(self) -> None:
        try:
            self.entered.set()
            while True:
                pass
        except BaseException as error:
            self.struck.append(error)
            raise


# The guard.


def test_a_call_without_an_interruption_returns_what_it_returns() -> None:
    assert Guard().call(pow, 2, 5) == 32


def test_an_interruption_before_the_call_strikes_at_its_first_step() -> None:
    guard, calls = Guard(), list[int]()
    guard.interrupt()

    with pytest.raises(Interrupted):
        guard.call(calls.append, 1)

    assert calls == []


def test_an_interruption_after_the_call_strikes_nobody() -> None:
    guard = Guard()
    guard.call(int)

    guard.interrupt()

    assert sum(range(1000)) == 499_500


def test_an_interruption_strikes_once() -> None:
    guard = Guard()

    def call() -> int:
        with pytest.raises(Interrupted):
            guard.interrupt()
        guard.interrupt()
        return sum(range(1000))

    assert guard.call(call) == 499_500


def test_an_interruption_inside_of_a_shield_strikes_after_it() -> None:
    guard, steps = Guard(), list[str]()

    def call() -> None:
        with guard.shielded():
            guard.interrupt()
            steps.append("shielded")
        steps.append("behind it")

    with pytest.raises(Interrupted):
        guard.call(call)
    assert steps == ["shielded"]


def test_a_shield_inside_of_a_shield_does_not_open_the_outer_one() -> None:
    guard, steps = Guard(), list[str]()

    def call() -> None:
        with guard.shielded():
            with guard.shielded():
                guard.interrupt()
            steps.append("shielded")

    with pytest.raises(Interrupted):
        guard.call(call)
    assert steps == ["shielded"]


def test_a_shield_after_the_call_does_not_let_an_interruption_in() -> None:
    guard = Guard()
    guard.call(int)

    with guard.shielded():
        pass
    guard.interrupt()

    assert sum(range(1000)) == 499_500


def test_a_shield_outside_of_any_call_does_nothing() -> None:
    with shield():
        pass


# In a pool.


def test_cancelling_interrupts_a_running_call(pool: ThreadPool) -> None:
    spinning = Spinning()
    future = pool.with_options(interrupt=True).submit(spinning)
    assert spinning.entered.wait(5)

    assert stop(future)

    with pytest.raises(CancelledError):
        future.result(5)
    assert [type(error) for error in spinning.struck] == [Interrupted]
    assert (pool.stats().cancelled, lost(pool.stats())) == (1, 0)


@pytest.mark.parametrize("option", ["timeout", "total_timeout"])
def test_a_timeout_interrupts_the_call_so_that_its_thread_comes_free(pool: ThreadPool, option: str) -> None:
    spinning, left = Spinning(), threading.Event()
    options: dict[str, Any] = {option: 0.05}

    def call() -> None:
        try:
            spinning()
        finally:
            left.set()

    future = pool.with_options(interrupt=True, **options).submit(call)

    with pytest.raises(TaskTimeout):
        future.result(5)
    assert left.wait(5)
    assert [type(error) for error in spinning.struck] == [Interrupted]


def test_without_the_option_a_call_is_not_interrupted(pool: ThreadPool) -> None:
    gate = Gate(pool)

    stop(gate.future)
    gate.open()

    assert gate.future.result(5) is None


def test_a_deadline_that_is_inherited_interrupts_too(pool: ThreadPool) -> None:
    spinning = Spinning()
    with ThreadPool(1) as other:

        def parent() -> None:
            other.with_options(interrupt=True).submit(spinning).result()

        deadline = 0.05
        while not spinning.entered.is_set():  # a machine may take longer than that to begin
            with pytest.raises(TaskTimeout):
                pool.with_options(total_timeout=deadline).submit(parent).result(20)
            deadline *= 3
        while not spinning.struck:
            threading.Event().wait(0.001)
    assert [type(error) for error in spinning.struck] == [Interrupted]


def test_a_call_that_swallows_the_interruption_ends_as_it_does(pool: ThreadPool) -> None:
    spinning = Spinning()

    def call() -> str:
        with suppress(Interrupted):
            spinning()
        return "went on"

    future = pool.with_options(interrupt=True).submit(call)
    assert spinning.entered.wait(5)
    stop(future)

    assert future.result(5) == "went on"


def test_an_interrupted_error_of_a_call_that_nobody_asked_is_a_failure(pool: ThreadPool) -> None:
    def call() -> None:
        raise Interrupted

    assert isinstance(pool.with_options(interrupt=True).submit(call).exception(5), Interrupted)


def test_the_worker_goes_on_after_an_interruption(pool: ThreadPool) -> None:
    spinning = Spinning()
    future = pool.with_options(interrupt=True).submit(spinning)
    assert spinning.entered.wait(5)
    behind = pool.submit(int, 3)

    stop(future)

    assert behind.result(5) == 3
    assert pool.stats().workers == 1


def test_a_call_run_inside_of_an_interrupted_one_is_not_hit() -> None:
    """The line is full, so the outer call runs the inner one itself: the exception was raised in that one."""
    steps: list[str] = []
    with ThreadPool(1, queue_size=1, when_full="caller_runs") as pool:
        entered, asked = threading.Event(), threading.Event()

        def inner() -> None:
            entered.set()
            assert asked.wait(5)
            sum(range(10_000))
            steps.append("inner ended")

        def outer() -> None:
            pool.submit(int)  # takes the only place
            pool.submit(inner)
            steps.append("outer ended")

        future = pool.with_options(interrupt=True).submit(outer)
        assert entered.wait(5)
        # Not `stop`, which would ask the inner call, too.
        cast("Any", future).terms.guard.interrupt()
        asked.set()

        with pytest.raises(Interrupted):
            future.result(5)
    assert steps == ["inner ended"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may hit a finaliser, and is lost
def test_an_interruption_that_hits_while_the_call_submits_costs_the_pool_no_place() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPool(2, queue_size=50) as pool, ThreadPool(1, queue_size=50) as target:
            view = pool.with_options(interrupt=True)
            for _ in range(150):
                entered = threading.Event()

                def submit_on_and_on(entered: threading.Event = entered) -> None:
                    entered.set()
                    while True:
                        target.submit(int)
                        check_cancelled()

                future = view.submit(submit_on_and_on)
                assert entered.wait(5)
                stop(future)
                with pytest.raises(CancelledError):
                    future.result(5)
            target.submit(int).result(5)
            at_rest = threading.Event()
            while target.stats().waiting or target.stats().running:
                at_rest.wait(0.001)
            stats = target.stats()
            gate = Gate(target)
            filling = [target.with_options(when_full="reject").submit(int) for _ in range(50)]  # every place is there
            gate.open()
            assert [each.result(5) for each in filling] == [0] * 50
            assert lost(stats) == 0
    finally:
        sys.setswitchinterval(interval)
