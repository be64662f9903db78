"""Random deaths of worker processes under load, from a seed that is printed: only who dies with one is told of it.

MILLHAND_SOAK_SECONDS=n goes on for n seconds, with resizes and cancellations in between.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from millhand import Future
from millhand.core.errors import TaskCancelled, WorkerCrashed
from millhand.pool.process.pool import ProcessPool
from millhand.pool.process.worker_process import WorkerProcess
from tests.pool.gate import lost
from tests.process.calls import meet, noted_twice
from tests.process.leftovers import Census

DEATHS = 100
SOAK = float(os.environ.get("MILLHAND_SOAK_SECONDS", "0"))
HANGS = 60.0
"""How long no call may take, all deaths and waits included."""
WINDOW = 200
SIZE = 3

pytestmark = pytest.mark.timeout(SOAK + 2 * HANGS)


@pytest.fixture(scope="session")
def once() -> None:
    """Start one process, so that what the first one opens for good is no leftover of a test."""
    Census()
    with ProcessPool(1) as pool:
        pool.submit(int).result(HANGS)


@pytest.fixture(autouse=True)
def nothing_left(once: None) -> Iterator[None]:
    before = Census()
    yield
    before.assert_nothing_new()


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("MILLHAND_SEED", random.randrange(2**32)))
    print(f"MILLHAND_SEED={seed}")
    return seed


class Trouble:
    """This kills processes at random until there were enough deaths and the time is over.

    In a soak it also changes the size of the pool.
    """

    def __init__(self, pool: ProcessPool, seed: int) -> None:
        self._pool, self._chance = pool, random.Random(seed)
        self.deaths, self._over = 0, threading.Event()
        self._killed = WeakSet[WorkerProcess]()
        self._until = time.monotonic() + SOAK

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def run(self) -> None:
        try:
            while self.deaths < DEATHS or time.monotonic() < self._until:
                self._over.wait(self._chance.choice([0.0, 0.005, 0.05]) * self._chance.random())
                self._kill_one()
                if SOAK and self._chance.random() < 0.1:
                    self._pool.resize(self._chance.randint(1, 2 * SIZE))
        finally:
            self._over.set()

    def _kill_one(self) -> None:
        """Kill one that is ready: one after the other that dies at its start is another story, which ends the pool."""
        with self._pool._crew.roster:
            processes = [worker._process for worker in self._pool._crew._workers]  # type: ignore[attr-defined]  # minders
        alive = [process for process in processes if process is not None and process._is_ready]
        if alive:
            victim = self._chance.choice(alive)
            if not victim._is_closed and victim not in self._killed:
                victim.kill_now()
                self._killed.add(victim)
                self.deaths += 1


class Load:
    """This is the calls that were made, and what became of each."""

    def __init__(self, pool: ProcessPool, log: Path, trouble: Trouble, seed: int) -> None:
        self._pool, self._log, self._trouble, self._seed = pool, log, trouble, seed
        self._numbers = iter(range(10**9))
        self._numbering = threading.Lock()
        self.done: list[int] = []
        self.crashed = 0
        self.maps = 0
        self.exitcodes = set[int | None]()

    def submit_singly(self) -> None:
        """Keep some calls under way, until the trouble is over; each ends with its number, a crash or a cancel."""
        chance, futures = random.Random(self._seed + 1), dict[Future[int], int]()
        while not self._trouble.is_over or futures:
            while len(futures) < WINDOW and not self._trouble.is_over:
                [n] = self._take(1)
                work = chance.choice([0, 0, 0, 100, 100_000])
                futures[self._pool.submit(noted_twice, self._log, n, work)] = n
            if SOAK and chance.random() < 0.1:
                chance.choice(list(futures)).cancel(running=chance.random() < 0.5)
            future = next(iter(futures))
            self._end(future, futures.pop(future))

    def _end(self, future: Future[int], n: int) -> None:
        try:
            assert future.result(HANGS) == n
            self.done.append(n)
        except WorkerCrashed as error:
            self.crashed += 1
            self.exitcodes.add(error.exitcode)
        except (CancelledError, TaskCancelled):
            assert SOAK

    def map(self) -> None:
        """Run one map after the other; one that crashes has brought, in order, all that came before."""
        chance = random.Random(self._seed + 2)
        while not self._trouble.is_over:
            numbers = self._take(chance.choice([10, 1_000]))
            results: list[int] = []
            try:
                results.extend(self._pool.map(Job(self._log), numbers))
            except WorkerCrashed:
                self.crashed += 1
            else:
                assert len(results) == len(numbers)
            assert results == numbers[: len(results)]
            self.done += results
            self.maps += 1

    def _take(self, count: int) -> list[int]:
        with self._numbering:
            return [next(self._numbers) for _ in range(count)]


class Job:
    """This is `noted_twice` for a map."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __call__(self, n: int) -> int:
        return noted_twice(self._log, n, 0)


def run_all(*calls: Callable[[], Any]) -> None:
    """Run calls at the same time; raise what the first of them raises."""
    errors: list[BaseException] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOAK + HANGS)
    assert not any(thread.is_alive() for thread in threads), f"somebody hangs; {errors}"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("method", [None, "fork"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_random_deaths_fail_only_those_that_die_and_nothing_runs_twice(
    seed: int, method: str | None, tmp_path: Path
) -> None:
    if method not in (None, *multiprocessing.get_all_start_methods()):
        pytest.skip(f"there is no {method} here")
    log = tmp_path / "log"
    with ProcessPool(SIZE, method) as pool:
        trouble = Trouble(pool, seed)
        load = Load(pool, log, trouble, seed)

        run_all(trouble.run, load.submit_singly, load.map)

        pool.resize(SIZE)
        (tmp_path / "meeting").mkdir()
        meetings = [pool.submit(meet, tmp_path / "meeting", SIZE) for _ in range(SIZE)]
        assert len({future.result(HANGS) for future in meetings}) == SIZE
    noted = Counter(log.read_text().split())
    print(f"{trouble.deaths} deaths, {len(load.done)} calls done, {load.crashed} crashed, {load.maps} maps")
    assert [word for word, times in noted.items() if times > 1] == [], "begun twice"
    assert all(noted[f"e{n}"] for n in load.done)
    assert load.crashed <= trouble.deaths
    assert load.exitcodes <= {-signal.SIGKILL}
    assert lost(pool.stats()) == 0
