"""Policies under fire: every option and every end at once, in an order drawn from a seed that is printed."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, get_args

import pytest

from millhand import CoroutinePool, PoolClosed, QueueFull, ThreadPool
from millhand.policy import Backoff, Breaker, Bulkhead, BulkheadState, RateLimit, Retry
from millhand.pool.options import WhenFull
from millhand.pool.order import OrderName
from tests.pool.gate import lost

ROUNDS = max(1, int(os.environ.get("MILLHAND_STRESS_ROUNDS", "500")) // 20)
OPTIONS: list[Mapping[str, Any]] = [
    {"retry": Retry(3, Backoff(base=0.001))},
    {"rate": RateLimit(2_000, burst=3)},
    {"rate": RateLimit(1_000)},
    {"bulkhead": Bulkhead(1)},
    {"bulkhead": Bulkhead(2, waiting=3)},
    {"breaker": Breaker(consecutive=3, open_for=0.003)},
    {"when_limited": "refuse"},
    {"priority": 2},
    {"timeout": 1},
    {"total_timeout": 0.02},
    {"interrupt": True},
]


@pytest.fixture
def chance() -> Iterator[random.Random]:
    seed = int(os.environ.get("MILLHAND_SEED", random.randrange(2**32)))
    print(f"MILLHAND_SEED={seed}")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield random.Random(seed)
    sys.setswitchinterval(before)


class Feeder(threading.Thread):
    """Submits calls, cancels some, changes the priorities of others, and looks whether the counts add up."""

    def __init__(self, chance: random.Random, pool: Any, call: Callable[[random.Random], Any]) -> None:
        super().__init__()
        self._chance, self._pool, self._call = random.Random(chance.random()), pool, call
        self.futures: list[Any] = []
        self.lost: set[int] = set()

    def run(self) -> None:
        chance = self._chance
        for _ in range(50):
            options = {"key": chance.choice([None, 1, 2])}
            for more in chance.sample(OPTIONS, chance.randint(0, 5)):
                options.update(more)
            with suppress(QueueFull, PoolClosed):
                self.futures.append(self._pool.with_options(**options).submit(self._call, chance))
            self.lost.add(lost(self._pool.stats()))
            if self.futures and chance.random() < 0.1:
                chance.choice(self.futures).cancel(running=chance.random() < 0.5)
            elif self.futures and chance.random() < 0.1:
                chance.choice(self.futures).set_priority(chance.randint(-2, 2))


def call(chance: random.Random) -> None:
    if chance.random() < 0.2:
        raise ConnectionError
    if chance.random() < 0.03:
        time.sleep(0.002)


async def call_on_the_loop(chance: random.Random) -> None:
    call(chance)


@pytest.mark.parametrize("kind", ["threads", "coroutines", "sub-pool"])
def test_whatever_meets_nothing_is_lost_and_nothing_is_left(chance: random.Random, kind: str) -> None:
    for _ in range(ROUNDS):
        settings: dict[str, Any] = {
            "queue_size": chance.choice([None, 5, 50]),
            "order": chance.choice(get_args(OrderName)),
            "when_full": chance.choice(get_args(WhenFull)),
        }
        size = chance.choice([1, 4])
        whole: Any = CoroutinePool(size, **settings) if kind == "coroutines" else ThreadPool(size, **settings)
        pool: Any = whole.subpool(2, **settings) if kind == "sub-pool" else whole
        feeders = [Feeder(chance, pool, call_on_the_loop if kind == "coroutines" else call) for _ in range(3)]
        for feeder in feeders:
            feeder.start()
        if chance.random() < 0.7:
            for feeder in feeders:
                feeder.join(30)
        ends = [pool.shutdown, partial(pool.shutdown, cancel_futures=True), partial(pool.drain, 30)]
        chance.choice(ends)()
        for feeder in feeders:
            feeder.join(30)
        whole.shutdown()

        assert all(future.done() for feeder in feeders for future in feeder.futures)
        assert {0} == set().union(*(feeder.lost for feeder in feeders), {lost(pool.stats())})
        assert_at_rest(pool)


def assert_at_rest(pool: Any) -> None:
    """Nothing waits, and no limit believes that somebody does."""
    stats, crew = pool.stats(), pool._crew
    parking = crew.parking
    states = [state for per_key in parking._states.values() for state in per_key._by_key.values()]
    bulkheads = [(state.running, state.waiting) for state in states if isinstance(state, BulkheadState)]

    assert (stats.waiting, stats.running, crew.held, crew.line.parked, parking.held) == (0, 0, 0, 0, 0)
    assert (len(parking._parked), len(parking._queues), len(parking._returning)) == (0, 0, 0)
    assert set(bulkheads) <= {(0, 0)}
