"""Many questions in one call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from millhand.core.errors import StoreError
from millhand.server.batcher import CROWD, Batcher


class Doubler:
    """Answers each question with its double, one batch at a time, when it is let."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.batches: list[int] = []
        self.batcher: Batcher[int, int] = Batcher(self.answer, name="test-batcher", most=100)

    def answer(self, numbers: list[int]) -> list[int]:
        self.batches.append(len(numbers))
        self.asked.release()
        assert self.let.acquire(timeout=10)
        return [2 * number for number in numbers]

    async def busy(self) -> None:
        """Return when a call is under way."""
        assert await asyncio.to_thread(self.asked.acquire, timeout=10)


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


def run(doubler: Doubler, work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    finally:
        doubler.let.release(1000)
        doubler.batcher.close()


def test_questions_of_one_turn_are_asked_together_and_answered_in_order(doubler: Doubler) -> None:
    async def ask() -> None:
        doubler.let.release()
        assert await asyncio.gather(*map(doubler.batcher.ask, range(5))) == [0, 2, 4, 6, 8]

    run(doubler, ask())
    assert doubler.batches == [5]


def test_no_batch_is_larger_than_allowed(doubler: Doubler) -> None:
    async def ask() -> None:
        doubler.let.release(10)
        await asyncio.gather(*map(doubler.batcher.ask, range(250)))

    run(doubler, ask())
    assert doubler.batches == [100, 100, 50]


def test_after_a_crowd_the_next_call_waits_for_most_of_it_to_come_back(doubler: Doubler) -> None:
    async def ask() -> None:
        first = [doubler.batcher.ask(n) for n in range(CROWD)]
        await doubler.busy()
        early = doubler.batcher.ask(100)
        doubler.let.release()
        await asyncio.gather(*first)
        back = [doubler.batcher.ask(n) for n in range(CROWD)]
        doubler.let.release()
        await asyncio.gather(early, *back)

    run(doubler, ask())
    assert doubler.batches == [CROWD, 1 + CROWD]


def test_a_crowd_that_does_not_come_back_is_waited_for_only_briefly(doubler: Doubler) -> None:
    async def ask() -> None:
        doubler.let.release(2)
        first = [doubler.batcher.ask(n) for n in range(CROWD)]
        await asyncio.gather(*first)
        assert await asyncio.wait_for(doubler.batcher.ask(100), 5) == 200

    run(doubler, ask())
    assert doubler.batches == [CROWD, 1]


def test_a_question_taken_back_before_its_turn_is_not_asked(doubler: Doubler) -> None:
    async def ask() -> None:
        first = doubler.batcher.ask(1)
        await doubler.busy()
        doubler.batcher.ask(2).cancel()
        doubler.let.release(2)
        assert await first == 2
        assert await doubler.batcher.ask(3) == 6

    run(doubler, ask())
    assert doubler.batches == [1, 1]


def test_a_question_taken_back_during_its_call_disturbs_nobody(doubler: Doubler) -> None:
    async def ask() -> None:
        first, second = doubler.batcher.ask(1), doubler.batcher.ask(2)
        await doubler.busy()
        first.cancel()
        doubler.let.release()
        assert await second == 4

    run(doubler, ask())


def test_an_error_reaches_everybody_of_its_batch_who_still_waits() -> None:
    def fail(numbers: list[int]) -> list[int]:
        raise StoreError("gone")

    batcher: Batcher[int, int] = Batcher(fail, name="test-batcher")

    async def ask() -> None:
        futures = [batcher.ask(n) for n in range(3)]
        await asyncio.sleep(0)
        futures[0].cancel()
        results = await asyncio.gather(*futures[1:], return_exceptions=True)
        assert [str(result) for result in results] == ["gone", "gone"]

    asyncio.run(ask())
    batcher.close()


def test_close_refuses_what_was_not_asked_and_lets_the_call_under_way_end(doubler: Doubler) -> None:
    async def ask() -> None:
        first = doubler.batcher.ask(1)
        await doubler.busy()
        second, gone = doubler.batcher.ask(2), doubler.batcher.ask(3)
        gone.cancel()
        doubler.let.release()
        doubler.batcher.close()  # on the loop, as the server does it: nothing is handed over meanwhile
        assert await first == 2
        with pytest.raises(StoreError, match="stopping"):
            await second
        with pytest.raises(StoreError, match="stopping"):
            await doubler.batcher.ask(4)

    run(doubler, ask())


def test_close_is_idempotent_and_starts_nothing(doubler: Doubler) -> None:
    doubler.batcher.close()
    doubler.batcher.close()

    assert doubler.batches == []


def test_close_after_the_loop_is_gone_harms_nobody(doubler: Doubler) -> None:
    async def ask() -> None:
        doubler.batcher.ask(1)
        await doubler.busy()
        doubler.batcher.ask(2)

    run(doubler, ask())
    assert doubler.batches == [1]
