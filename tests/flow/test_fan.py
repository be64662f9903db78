from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing, closing
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand import CoroutinePool, TaskCancelled, ThreadPool, check_cancelled
from millhand.flow import (
    afirst,
    agather,
    ahedged,
    aquorum,
    areduce,
    ascatter,
    first,
    gather,
    hedged,
    quorum,
    reduce,
    rendezvous,
    scatter,
)
from tests.flow.conftest import Hold
from tests.flow.test_pipeline import until

SOON = 5.0


def run(body: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(body, 15))


def fail() -> int:
    raise ValueError("no")


class Loser:
    """A call that runs until it is asked to stop."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.begun.set()
        try:
            while True:
                check_cancelled()
        except TaskCancelled:
            self.stopped.set()
            raise


def after(event: threading.Event, value: int) -> Callable[[], int]:
    def call() -> int:
        assert event.wait(SOON)
        return value

    return call


# Races.


def test_the_first_result_wins_and_the_losers_are_cancelled(pool: ThreadPool) -> None:
    loser = Loser()

    assert first(pool, [loser, fail, after(loser.begun, 7)]) == 7
    assert loser.stopped.wait(SOON)


def test_a_race_that_all_lose_raises_what_each_raised(pool: ThreadPool) -> None:
    with pytest.raises(ExceptionGroup, match="3 of 3 calls failed") as raised:
        first(pool, [fail, fail, fail])

    assert [type(error) for error in raised.value.exceptions] == [ValueError] * 3


def test_a_quorum_needs_n_results_and_cancels_the_rest(pool: ThreadPool) -> None:
    loser = Loser()

    assert sorted(quorum(pool, [loser, after(loser.begun, 1), fail, lambda: 2], 2)) == [1, 2]
    assert loser.stopped.wait(SOON)


def test_a_quorum_gives_up_as_soon_as_it_cannot_be_had(pool: ThreadPool) -> None:
    loser = Loser()

    with pytest.raises(ExceptionGroup, match="2 of 3 calls failed"):
        quorum(pool, [loser, fail, fail], 2)

    until(lambda: not pool.stats().running)


@pytest.mark.parametrize("n", [0, 3, True, 1.5])
def test_a_quorum_of_more_than_there_are_calls_is_refused(pool: ThreadPool, n: Any) -> None:
    with pytest.raises(ValueError, match="of 2 calls"):
        quorum(pool, [int, int], n)


def test_a_race_whose_calls_are_refused_cancels_those_that_run() -> None:
    pool = ThreadPool(1, queue_size=0, when_full="reject")
    loser = Loser()

    with pytest.raises(Exception, match="places are taken"):
        first(pool, [loser, int])

    pool.shutdown()


def test_calls_that_are_cancelled_by_the_end_of_their_pool_count_as_failed(hold: Hold) -> None:
    pool = ThreadPool(1)
    pool.submit(hold, 0)
    hold.wait_for(1)
    threading.Timer(0.02, lambda: (pool.shutdown(wait=False, cancel_futures=True), hold.let_go())).start()

    with pytest.raises(ExceptionGroup) as raised:
        first(pool, [int])

    assert isinstance(raised.value.exceptions[0], CancelledError)
    pool.shutdown()


def test_a_hedged_call_that_is_quick_is_made_once(pool: ThreadPool) -> None:
    calls = list[int]()

    assert hedged(pool, lambda: calls.append(1) or 3, after=60) == 3  # type: ignore[func-returns-value]  # it returns None
    assert calls == [1]


def test_a_hedged_call_that_is_slow_is_made_again_and_the_first_one_is_cancelled(pool: ThreadPool) -> None:
    loser, calls = Loser(), count()

    assert hedged(pool, lambda: loser() if next(calls) == 0 else 5, after=0.01) == 5
    assert loser.stopped.wait(SOON)


def test_a_hedged_call_that_is_slow_may_still_win(pool: ThreadPool) -> None:
    second, calls = Loser(), count()

    assert hedged(pool, lambda: after(second.begun, 5)() if next(calls) == 0 else second(), after=0.01) == 5
    assert second.stopped.wait(SOON)


def test_a_copy_that_fails_brings_the_next_one_at_once(pool: ThreadPool) -> None:
    calls = count()
    began = time.monotonic()

    assert hedged(pool, lambda: fail() if next(calls) < 2 else 5, after=60, copies=3) == 5
    assert time.monotonic() - began < 10


def test_a_hedged_call_of_which_all_copies_fail_raises_all(pool: ThreadPool) -> None:
    with pytest.raises(ExceptionGroup, match="2 of 2"):
        hedged(pool, fail, after=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after": 0}, "after must be"),
        ({"after": True}, "after must be"),
        ({"after": 1, "copies": 0}, "copies must be"),
    ],
)
def test_a_hedge_without_a_time_or_copies_is_refused(pool: ThreadPool, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hedged(pool, int, **arguments)


def test_races_have_a_door_for_asyncio() -> None:
    cancelled = list[str]()

    async def lose() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("lost")
            raise
        return 0

    async def win() -> int:
        await asyncio.sleep(0)
        return 3

    async def stumble() -> int:
        raise ValueError("no")

    calls = count()

    async def slow_once() -> int:
        return await (lose() if next(calls) == 0 else win())

    async def main() -> None:
        async with CoroutinePool(5) as pool:
            assert await afirst(pool, [lose, stumble, win]) == 3
            assert await aquorum(pool, [win, lose, win], 2) == [3, 3]
            assert await ahedged(pool, slow_once, after=0.01) == 3
            assert await ahedged(pool, win, after=60) == 3
            with pytest.raises(ExceptionGroup, match="2 of 2"):
                await ahedged(pool, stumble, after=60)

    run(main())

    assert cancelled == ["lost"] * 3


# Over several pools.


@pytest.fixture
def pools() -> Iterator[dict[str, ThreadPool]]:
    with ThreadPool(1, "a") as one, ThreadPool(1, "b") as two, ThreadPool(2, "c") as three:
        yield {"a": one, "b": two, "c": three}


def where(_: object) -> str:
    return threading.current_thread().name[0]


def test_round_robin_takes_one_pool_after_the_other(pools: dict[str, ThreadPool]) -> None:
    assert "".join(gather(scatter(pools, where, range(7)))) == "abcabca"
    assert "".join(gather(scatter(list(pools.values()), where, range(4)))) == "abca"


def test_least_loaded_takes_the_pool_with_the_most_workers_free(pools: dict[str, ThreadPool], hold: Hold) -> None:
    futures = scatter(pools, hold, range(8), by="least_loaded")

    begun = [next(futures) for _ in range(4)]
    hold.wait_for(4)
    begun += futures

    assert [pool.stats().running for pool in pools.values()] == [1, 1, 2]
    assert sorted(pool.stats().waiting for pool in pools.values()) == [1, 1, 2]
    hold.let_go()
    assert list(gather(begun)) == list(range(8))


def test_equal_keys_go_to_the_same_pool(pools: dict[str, ThreadPool]) -> None:
    items = [(key, n) for n in range(3) for key in "pqrstuv"]

    places = list(gather(scatter(pools, where, items, by=lambda item: item[0])))

    assert places[:7] == places[7:14] == places[14:]
    assert set(places) <= set("abc")


@pytest.mark.parametrize(
    ("pools", "by", "message"),
    [
        ([], "round_robin", "there are no pools"),
        ([None], "fastest", "by must be 'round_robin', 'least_loaded' or a function"),
        ([None], "least_loaded", "needs pools, which can tell their load"),
    ],
)
def test_a_route_that_cannot_be_taken_is_refused_at_once(pools: Any, by: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scatter(pools, int, [], by=by)


NAMES = st.lists(st.text(max_size=5), min_size=1, max_size=6, unique=True)
KEYS = st.one_of(st.text(), st.binary(), st.integers())


@given(KEYS, NAMES)
def test_only_the_keys_of_a_name_that_goes_move(key: Any, names: list[str]) -> None:
    chosen = rendezvous(key, names)

    assert chosen in names
    assert all(rendezvous(key, [n for n in names if n != gone]) == chosen for gone in names if gone != chosen)


def test_keys_are_spread_evenly() -> None:
    spread = Counter(rendezvous(n, "abcd") for n in range(4000))

    assert all(900 < n < 1100 for n in spread.values())


def test_keys_of_different_kinds_are_different_keys() -> None:
    names = [str(n) for n in range(1000)]

    assert len({rendezvous(key, names) for key in ("1", b"1", 1)}) == 3


@pytest.mark.parametrize(("key", "names", "message"), [(1.5, "ab", "str, bytes or int"), ("k", "", "nobody to choose")])
def test_a_key_that_not_every_process_hashes_alike_is_refused(key: Any, names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rendezvous(key, names)


@pytest.mark.slow
def test_a_key_goes_to_the_same_pool_in_every_process() -> None:
    program = "from millhand.flow import rendezvous; print(*(rendezvous(f'k{n}', 'abcdef') for n in range(50)))"

    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }

    assert said == {" ".join(rendezvous(f"k{n}", "abcdef") for n in range(50)) + "\n"}


# And back.


@pytest.mark.parametrize("ordered", [True, False])
def test_gather_takes_no_more_futures_than_it_has_room_for(pool: ThreadPool, ordered: bool) -> None:
    submitted = list[int]()
    futures = (submitted.append(n) or pool.submit(abs, n) for n in count())  # type: ignore[func-returns-value]  # it is None

    with closing(gather(futures, ordered=ordered, buffersize=5)) as results:
        for taken in range(1, 30):
            next(results)
            assert len(submitted) <= taken + 5


def test_gather_gives_results_as_calls_end_if_asked_to(pool: ThreadPool, hold: Hold) -> None:
    futures = [pool.submit(hold, 0), *(pool.submit(abs, n) for n in range(1, 6))]

    results = gather(futures, ordered=False)
    early = [next(results) for _ in range(5)]
    hold.let_go()

    assert sorted(early) == [1, 2, 3, 4, 5]
    assert list(results) == [0]


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_is_raised_in_its_place_and_the_rest_is_cancelled(pool: ThreadPool, ordered: bool) -> None:
    loser = Loser()
    failed = pool.submit(fail)

    results = gather([failed, pool.submit(loser)], ordered=ordered)
    with pytest.raises(ValueError, match="no"):
        next(results)

    until(lambda: not pool.stats().running)


@pytest.mark.parametrize("buffersize", [0, True, None])
def test_gather_without_room_is_refused_at_once(buffersize: Any) -> None:
    with pytest.raises(ValueError, match="buffersize"):
        gather([], buffersize=buffersize)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_call_may_gather_from_its_own_pool(ordered: bool) -> None:
    with ThreadPool(1) as pool:
        total = pool.submit(lambda: sum(gather(scatter([pool], abs, range(50)), ordered=ordered, buffersize=4)))

        assert total.result(SOON) == 1225


@pytest.mark.parametrize("ordered", [True, False])
def test_scatter_and_gather_have_a_door_for_asyncio(pools: dict[str, ThreadPool], ordered: bool) -> None:
    async def main() -> list[str]:
        futures = ascatter(pools, where, count())
        async with aclosing(agather(futures, ordered=ordered, buffersize=6)) as results:
            taken = list[str]()
            async for result in results:
                taken.append(result)
                if len(taken) == 30:
                    return taken
        raise AssertionError("it never ends")

    assert set(run(main())) == set("abc")


def test_agather_ends_with_its_futures_and_raises_in_place(pool: ThreadPool) -> None:
    async def main() -> list[int]:
        taken = [result async for result in agather(ascatter([pool], abs, range(20)), buffersize=3)]
        with pytest.raises(ValueError, match="no"):
            await anext(agather([pool.run(fail), pool.run(Loser())], ordered=False))
        return taken

    assert run(main()) == list(range(20))
    until(lambda: not pool.stats().running)


# Aggregation.


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers()))
def test_reduce_combines_the_results_of_all_items(items: list[int]) -> None:
    with ThreadPool(2) as pool:
        assert reduce(pool, abs, items, lambda total, n: total + n, 0) == sum(map(abs, items))


def test_results_are_combined_as_they_come(pool: ThreadPool, hold: Hold) -> None:
    def combine(seen: list[Any], n: Any) -> list[Any]:
        if len(seen) == 2:
            hold.let_go()
        return [*seen, n]

    assert reduce(pool, lambda n: hold(n) if n == 0 else n, range(4), combine, [])[-1] == 0


def test_an_error_ends_a_reduction(pool: ThreadPool) -> None:
    with pytest.raises(ZeroDivisionError):
        reduce(pool, lambda n: 1 / n, [1, 0, 2], lambda total, n: total + n, 0.0)


def test_reduce_has_a_door_for_asyncio(pool: ThreadPool) -> None:
    assert run(areduce(pool, abs, range(-5, 5), lambda total, n: total + n, 0)) == 25
