"""A runner's duties, put together on a real store and a pool that the test plays."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from millhand.core import Job, JobState
from millhand.jobs import Registry, current_job
from millhand.jobs.sqlite import SqliteStore
from millhand.policy import Backoff, Retry
from millhand.runner.runner import Duties
from tests.jobs.ledger import FOR_EVER, draft, put
from tests.runner.fakes import CountingBell, FakePool, ManualClock, RecordingStore

AT_ONCE = Retry(backoff=Backoff(base=0.0))


@dataclass
class Bench:
    """A runner laid out on a bench: step its duties, play its pool, look into its store."""

    store: RecordingStore
    pool: FakePool
    clock: ManualClock
    registry: Registry
    duties: Duties
    effects: list[Any] = field(default_factory=list)

    def put(self, *types: str, **fields: Any) -> list[str]:
        return put(self.store, *(draft(type, **fields) for type in types))

    def claim(self) -> float:
        return self.duties.claim.step(self.clock.monotonic())

    def settle(self) -> float:
        return self.duties.settle.step(self.clock.monotonic())

    def job(self, id: str) -> Job:
        return self.store.reading.get(id)

    def state(self, id: str) -> JobState:
        return self.job(id).state

    def states(self, ids: list[str]) -> list[JobState]:
        return [self.state(id) for id in ids]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Make benches on one store, each a runner of its own."""
    real = SqliteStore(tmp_path / "jobs.db", threaded=False)

    def make(*, workers: int = 2, runner: str = "r1", job_timeout: float | None = None) -> Bench:
        store, pool, registry = RecordingStore(real), FakePool(), Registry()
        chance = random.Random(1)
        duties = Duties(
            store,
            registry,
            pool,
            runner,
            workers=workers,
            chance=chance,
            job_timeout=job_timeout,
        )
        duties.claim.bell, duties.settle.bell = CountingBell(), CountingBell()
        bench = Bench(store, pool, ManualClock(), registry, duties)
        register(bench)
        real.housekeeping.announce(runner, lease=FOR_EVER)
        return bench

    yield make
    real.housekeeping.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


def register(bench: Bench) -> None:
    """Register a function for each way in which an attempt can go."""

    def note() -> str:
        bench.effects.append(current_job().id)
        return "noted"

    def fail() -> None:
        raise ValueError("boom")

    def look() -> bool:
        return current_job().cancel_requested

    def obey() -> None:
        if current_job().cancel_requested:
            raise InterruptedError("told to stop")

    for function in (note, fail, look, obey):
        bench.registry.add(function, retry=AT_ONCE)
