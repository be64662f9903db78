from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand import CoroutinePool, PoolClosed, QueueFull, ThreadPool, check_cancelled
from millhand.flow import Batcher, WrongBatch
from tests.flow.conftest import Hold
from tests.flow.test_pipeline import until
from tests.pool.gate import Aside, press_ctrl_c

SOON = 5.0
NEVER = 60.0


def run(body: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(body, 15))


class Doubling:
    """Doubles what it is given, refuses some of it, and keeps the sizes of its batches."""

    def __init__(self, *refused: int) -> None:
        self.refused, self.sizes = set(refused), list[int]()

    def __call__(self, items: list[int]) -> list[int]:
        self.sizes.append(len(items))
        if self.refused & set(items):
            raise ValueError(f"refused: {sorted(self.refused & set(items))}")
        return [2 * item for item in items]


# Gathering.


def test_what_comes_together_is_done_by_one_call_and_each_gets_his_answer(pool: ThreadPool) -> None:
    double = Doubling()
    with Batcher(pool, double, size=10, within=NEVER) as batcher:
        answers = [batcher.submit(n) for n in range(25)]

        assert [answer.result(SOON) for answer in answers[:20]] == [2 * n for n in range(20)]
        assert double.sizes == [10, 10]

    assert [answer.result(0.001) for answer in answers[20:]] == [2 * n for n in range(20, 25)]
    assert double.sizes == [10, 10, 5]


def test_an_item_waits_for_company_no_longer_than_it_was_told(pool: ThreadPool) -> None:
    double = Doubling()
    with Batcher(pool, double, within=0.01) as batcher:
        assert batcher.submit(4).result(SOON) == 8
        assert [each.result(SOON) for each in [batcher.submit(n) for n in range(3)]] == [0, 2, 4]

    assert sum(double.sizes) == 4


def test_without_a_wait_every_item_goes_as_soon_as_it_can(pool: ThreadPool) -> None:
    with Batcher(pool, Doubling(), within=0) as batcher:
        assert batcher.submit(4).result(SOON) == 8


def test_it_works_on_coroutines_and_views_too() -> None:
    async def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    with CoroutinePool(2) as pool, Batcher(pool.with_options(timeout=60), double, size=2) as batcher:
        assert [batcher.submit(n).result(SOON) for n in range(3)] == [0, 2, 4]


def test_one_who_cancels_before_his_turn_is_left_out(pool: ThreadPool) -> None:
    double = Doubling()
    with Batcher(pool, double, size=3, within=NEVER) as batcher:
        first, second = batcher.submit(1), batcher.submit(2)
        assert second.cancel()
        third = batcher.submit(3)

        assert (first.result(SOON), third.result(SOON)) == (2, 6)

    assert double.sizes == [2]


def test_a_batch_of_which_all_are_cancelled_is_not_done(pool: ThreadPool) -> None:
    double = Doubling()
    with Batcher(pool, double, size=2, within=NEVER) as batcher:
        batcher.submit(1).cancel()
        batcher.submit(2).cancel()

    assert double.sizes == []


# Failures.


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.integers(1, 16))
def test_a_failing_batch_fails_only_whom_it_must(n: int, bad: set[int], size: int) -> None:
    with ThreadPool(2) as pool, Batcher(pool, Doubling(*bad), size=size, within=NEVER) as batcher:
        answers = [batcher.submit(item) for item in range(n)]
        batcher.close()

    failed = {item for item, answer in enumerate(answers) if answer.exception() is not None}
    assert failed == bad & set(range(n))
    assert all(answer.result() == 2 * item for item, answer in enumerate(answers) if item not in failed)


def test_one_bad_item_costs_two_more_calls_for_each_halving(pool: ThreadPool) -> None:
    double = Doubling(5)
    with Batcher(pool, double, size=64, within=NEVER) as batcher:
        answers = [batcher.submit(n) for n in range(64)]

    assert [n for n, answer in enumerate(answers) if answer.exception()] == [5]
    assert len(double.sizes) == 1 + 2 * 6


def test_a_batch_that_must_not_be_split_fails_all_of_its_callers(pool: ThreadPool) -> None:
    double = Doubling(1)
    with Batcher(pool, double, size=3, within=NEVER, split=False) as batcher:
        answers = [batcher.submit(n) for n in range(3)]

    assert {str(answer.exception()) for answer in answers} == {"refused: [1]"}
    assert double.sizes == [3]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([1], "given 2 items and returned 1 results; return a list of one result each"),
        ({1: 1, 2: 2}, "returned no list, but dict"),
        (None, "returned no list, but NoneType"),
    ],
)
def test_a_wrong_number_of_results_is_told_to_all(pool: ThreadPool, answers: Any, message: str) -> None:
    with Batcher(pool, lambda _: answers, size=2) as batcher:
        futures = [batcher.submit(n) for n in range(2)]

        for future in futures:
            with pytest.raises(WrongBatch, match=message):
                future.result(SOON)


def test_a_batch_for_which_the_pool_takes_no_work_fails_with_what_it_says() -> None:
    pool = ThreadPool(1)
    pool.shutdown()

    with Batcher(pool, Doubling(), within=0) as batcher, pytest.raises(PoolClosed):
        batcher.submit(1).result(SOON)


def test_a_batch_that_its_pool_cancels_is_not_split(hold: Hold) -> None:
    pool = ThreadPool(1)
    pool.submit(hold, 0)
    hold.wait_for(1)
    double = Doubling()
    with Batcher(pool, double, size=2) as batcher:
        answers = [batcher.submit(n) for n in range(2)]
        until(lambda: pool.stats().waiting == 1)
        pool.shutdown(wait=False, cancel_futures=True)

        for answer in answers:
            with pytest.raises(CancelledError):
                answer.result(SOON)
    hold.let_go()
    pool.shutdown()

    assert double.sizes == []


# The bound.


def test_submit_waits_for_a_place(pool: ThreadPool, hold: Hold) -> None:
    def held(items: list[int]) -> list[int]:
        hold(0)
        return items

    with Batcher(pool, held, size=2, within=NEVER, queue_size=4) as batcher:
        answers = [batcher.submit(n) for n in range(4)]
        late = Aside(lambda: batcher.submit(4))

        assert late.is_blocked()
        hold.let_go()

        assert late.outcome()
        assert [answer.result(SOON) for answer in answers] == [0, 1, 2, 3]


def test_one_who_waits_for_a_place_learns_of_the_end(pool: ThreadPool, hold: Hold) -> None:
    batcher = Batcher(pool, lambda items: [hold(n) for n in items], size=1, queue_size=1)
    answer = batcher.submit(1)
    late = Aside(lambda: batcher.submit(2))
    assert late.is_blocked()

    closing = Aside(batcher.close)

    assert isinstance(late.outcome(), PoolClosed)
    hold.let_go()
    assert closing.outcome() is None
    assert answer.result(0.001) == 1


def test_on_a_loop_submit_refuses_and_run_waits(pool: ThreadPool, hold: Hold) -> None:
    async def main() -> list[Any]:
        async with Batcher(pool, lambda items: [hold(n) for n in items], size=1, within=0, queue_size=1) as batcher:
            answer = batcher.submit(0)
            with pytest.raises(QueueFull, match=r"1 of 1 places are taken; await batcher.run\(...\) instead"):
                batcher.submit(1)
            late = [asyncio.ensure_future(batcher.run(n)) for n in range(1, 4)]
            given_up = asyncio.ensure_future(batcher.run(9))
            await asyncio.sleep(0)
            given_up.cancel()
            hold.let_go()
            return [await answer, *await asyncio.gather(*late)]

    assert run(main()) == [0, 1, 2, 3]


def test_a_place_that_was_offered_to_one_who_has_given_up_goes_to_the_next(pool: ThreadPool, hold: Hold) -> None:
    async def main() -> Any:
        async with Batcher(pool, lambda items: [hold(n) for n in items], size=1, within=0, queue_size=1) as batcher:
            first = batcher.submit(0)
            given_up = asyncio.ensure_future(batcher.run(1))
            late = asyncio.ensure_future(batcher.run(2))
            await asyncio.sleep(0)
            hold.let_go()
            wait_for([first], SOON)  # it blocks the loop, on purpose: the place is offered, nobody has looked yet
            given_up.cancel()
            return await late

    assert run(main()) == 2


def test_those_who_wait_on_a_loop_learn_of_the_end(pool: ThreadPool, hold: Hold) -> None:
    async def main() -> None:
        batcher = Batcher(pool, lambda items: [hold(n) for n in items], size=1, within=0, queue_size=1)
        answer = batcher.submit(0)
        late = asyncio.ensure_future(batcher.run(1))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(batcher.aclose())
        with pytest.raises(PoolClosed, match="batcher of <lambda> is closed"):
            await late
        hold.let_go()
        await closing
        assert await answer == 0

    run(main())


# The end.


def test_close_finishes_what_was_gathered_and_may_be_repeated(pool: ThreadPool) -> None:
    batcher = Batcher(pool, Doubling(), within=NEVER)
    answer = batcher.submit(2)

    batcher.close()
    batcher.close()

    assert answer.result(0.001) == 4
    with pytest.raises(PoolClosed):
        batcher.submit(1)
    Batcher(pool, Doubling()).close()


def test_a_body_that_raises_cancels_what_waits_and_stops_what_runs(pool: ThreadPool) -> None:
    begun = threading.Event()

    def spin(items: list[int]) -> list[int]:
        begun.set()
        while True:
            check_cancelled()

    batcher = Batcher(pool, spin, size=2, within=NEVER)
    running = [batcher.submit(n) for n in range(2)]
    assert begun.wait(SOON)
    waiting = batcher.submit(3)
    with pytest.raises(LookupError), batcher:
        raise LookupError

    assert waiting.cancelled()
    assert all(isinstance(each.exception(0.001), CancelledError) for each in running)


class Blocking(ThreadPool):
    """A pool that has a place for one call, then for none until it is told."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls, self.entered, self.has_place = 0, threading.Event(), threading.Event()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls > 1:
            self.entered.set()
            assert self.has_place.wait(SOON)
        return super().submit(fn, *args, **kwargs)


def test_halves_that_wait_are_cancelled_too() -> None:
    with Blocking() as pool:
        batcher = Batcher(pool, Doubling(0), size=2, within=NEVER)
        answers = [batcher.submit(n) for n in range(2)]
        assert pool.entered.wait(SOON)
        began = time.monotonic()

        batcher.close(cancel=True)

        assert time.monotonic() - began < 3
        assert isinstance(answers[1].exception(0.001), CancelledError)
        pool.has_place.set()
        assert answers[0].exception(SOON) is not None


def test_a_call_that_takes_no_notice_holds_a_close_that_cancels_up_for_a_second_at_most(
    pool: ThreadPool, hold: Hold
) -> None:
    def fail(items: list[int]) -> list[int]:
        raise ValueError(hold(items))

    batcher = Batcher(pool, fail, size=2, within=NEVER)
    answers = [batcher.submit(0), batcher.submit(1)]
    hold.wait_for(1)
    began = time.monotonic()

    batcher.close(cancel=True)

    assert time.monotonic() - began < 3
    hold.let_go()
    assert [type(answer.exception(SOON)) for answer in answers] == [ValueError] * 2  # not split any more


def test_an_interruption_while_it_waits_for_answers_cancels_them_and_passes(pool: ThreadPool) -> None:
    class Interrupted(Batcher[int, int]):
        def close(self, *, cancel: bool = False) -> None:
            if not cancel:
                raise KeyboardInterrupt
            super().close(cancel=cancel)

    with pytest.raises(KeyboardInterrupt), Interrupted(pool, Doubling(), within=NEVER) as batcher:
        answer = batcher.submit(1)

    assert answer.cancelled()


@pytest.mark.untraced
def test_ctrl_c_while_it_waits_for_answers_cancels_them(pool: ThreadPool) -> None:
    begun = threading.Event()

    def spin(items: list[int]) -> list[int]:
        begun.set()
        while True:
            check_cancelled()

    def press() -> None:
        assert begun.wait(SOON)
        press_ctrl_c()

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt), Batcher(pool, spin, within=0) as batcher:
        answer = batcher.submit(1)
    presser.join()

    assert isinstance(answer.exception(0.001), CancelledError)


def test_a_loop_is_not_blocked_by_its_end(pool: ThreadPool) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use `async with`"), Batcher(pool, Doubling()):
            pass
        batcher = Batcher(pool, Doubling(), within=NEVER)
        answer = batcher.submit(2)
        with pytest.raises(RuntimeError, match=r"await batcher\.aclose"):
            batcher.close()
        await batcher.aclose()
        assert await answer == 4

    run(main())


# Arguments.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pool: Batcher(None, len), "a batcher needs a pool"),  # type: ignore[arg-type]  # that is what is tested
        (lambda pool: Batcher(pool, 3), "a batcher needs a function"),
        (lambda pool: Batcher(pool, len, size=0), "size must be"),
        (lambda pool: Batcher(pool, len, queue_size=0), "queue_size must be"),
        (lambda pool: Batcher(pool, len, within=-1), "within must be"),
        (lambda pool: Batcher(pool, len, within=float("nan")), "within must be"),
    ],
)
def test_a_mistake_in_an_argument_is_refused_where_it_is_made(
    pool: ThreadPool, make: Callable[[ThreadPool], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(pool)
