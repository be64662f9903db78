"""A pool of processes keeps every promise that the pool of threads makes: size, counts, life and end."""

# ruff: noqa: PT012 - it is the leaving of a pool's body that raises, so the body stands in the block

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millhand import PoolClosed, QueueFull
from millhand.core.events import Event, PoolResized, TaskDiscarded, TaskEnded, TaskStarted, WorkerHired, WorkerLeft
from tests.pool.gate import Aside, lost
from tests.process.house import (
    KINDS,
    PATIENCE,
    Gate,
    Pools,
    eventually,
    fail,
    gating,
    heeding,
    making,
    note,
    note_item,
    noted,
)

pytestmark = pytest.mark.slow
Gates = Callable[[], Gate]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str) -> Iterator[Pools]:
    with making(kind) as make:
        yield make


@pytest.fixture
def gates(make: Pools, tmp_path: Path) -> Iterator[Gates]:
    with gating(tmp_path) as gates:
        yield gates


@pytest.mark.parametrize("door", ["submit", "map"])
def test_without_a_thread_for_a_worker_it_says_so_and_later_it_works(
    kind: str, make: Pools, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map waited for ever when the thread that hears processes could be started, and no minder."""
    pool = make(2)
    call = {"submit": lambda: pool.submit(abs, -1).result(PATIENCE), "map": lambda: next(pool.map(abs, [-1]))}[door]
    start, left = threading.Thread.start, [None] if kind == "processes" else []

    def start_few(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="can't start new thread"):
        patch.setattr(threading.Thread, "start", start_few)
        call()

    assert call() == 1


# Its size.


def test_as_many_calls_run_at_once_as_there_are_workers(make: Pools, gates: Gates) -> None:
    pool, gate = make(3), gates()

    futures = gate.hold(pool, 3)
    behind = pool.submit(int)

    assert not behind.done()
    assert pool.stats().running == 3
    gate.open(3)
    assert [future.result(10) for future in futures] == [0, 1, 2]


def test_a_pool_grows_while_it_works(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    gate.hold(pool)
    behind = pool.submit(gate.wait)

    pool.resize(2)

    gate.await_calls()
    gate.open(2)
    behind.result(10)


def test_a_pool_that_shrinks_interrupts_no_call(make: Pools, gates: Gates) -> None:
    pool, gate = make(3), gates()
    futures = gate.hold(pool, 3)

    pool.resize(1)
    gate.open(3)

    assert [future.result(10) for future in futures] == [0, 1, 2]
    assert eventually(lambda: pool.stats().workers == 1)
    [held] = gate.hold(pool)
    behind = pool.submit(gate.wait)
    gate.open()
    held.result(10)
    gate.await_calls()  # one after the other
    gate.open()
    assert behind.result(10) is None


def test_an_elastic_pool_hires_for_the_load_up_to_its_bound(make: Pools, gates: Gates) -> None:
    pool, gate = make((2, 4)), gates()

    futures = [pool.submit(gate.wait, n) for n in range(6)]
    gate.await_calls(4)  # one more than two says that it has grown

    assert pool.stats().workers == 4
    gate.open(6)
    assert [future.result(10) for future in futures] == list(range(6))


def test_nothing_starts_during_a_pause(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, log = make(2), gates(), tmp_path / "log"
    [held] = gate.hold(pool)

    pool.pause()
    waiting = [pool.submit(note, str(log), str(n)) for n in range(5)]
    gate.open()
    assert held.result(10) == 0

    assert (pool.stats().waiting, noted(log)) == (5, "")
    assert waiting[2].cancel()
    pool.resume()
    assert wait([*waiting[:2], *waiting[3:]], 10).not_done == set()
    assert set(noted(log).split()) == set("0134")


def test_draining_ends_what_there_is_and_takes_no_more(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    [held] = gate.hold(pool)
    waiting = pool.submit(int, "7")

    assert not pool.drain(0.01)
    with pytest.raises(PoolClosed):
        pool.submit(int)
    gate.open()

    assert pool.drain(10)
    assert (held.result(0), waiting.result(0)) == (0, 7)
    assert pool.stats().workers == 0


def test_a_map_ends_after_a_shutdown_whatever_its_last_items_take(make: Pools) -> None:
    """Found with CPython's `test_shutdown_race_issue12456`: what a process gave back sent carriers for ever."""
    for _ in range(8):
        pool = make(3)
        pool.map(time.sleep, [0] * 5_000 + [0.03] * 6)

        pool.shutdown(wait=False)

        assert pool.drain(10)
        assert pool.stats().done == 5_006


# Its counts, and its events.


def test_the_counts_add_up_after_everything_that_can_happen(make: Pools, gates: Gates, tmp_path: Path) -> None:
    pool, gate, stuck = make(2, queue_size=20, when_full="drop_oldest"), gates(), gates()
    assert list(pool.map(partial(note_item, str(tmp_path / "log")), range(50), buffersize=7)) == list(range(50))
    assert pool.with_options(timeout=0.05).submit(stuck.wait).exception(10) is not None
    held = gate.hold(pool, 2)
    ahead = [pool.submit(int, str(n)) for n in range(20)]
    assert ahead[3].cancel()
    with pytest.raises(QueueFull):
        pool.with_options(when_full="reject").submit(int)
    assert pool.with_options(when_full="caller_runs").submit(os.getpid).result(10) is not None
    dropping = pool.submit(int)
    gate.open(2)
    wait([*held, *ahead, dropping], 10)
    assert isinstance(pool.submit(fail, LookupError()).exception(10), LookupError)
    stopped = pool.submit(heeding(gate))
    gate.await_calls()
    assert stopped.cancel(running=True)
    with pytest.raises(CancelledError):
        stopped.result(10)
    stuck.open()

    assert eventually(lambda: pool.stats().running == pool.stats().waiting == 0)
    stats = pool.stats()
    assert lost(stats) == 0
    assert (stats.timed_out, stats.failed, stats.refused, stats.cancelled) == (1, 1, 1, 2)
    assert stats.dropped == sum(not future.cancelled() and future.exception(0) is not None for future in ahead) > 0


def test_who_listens_hears_what_happens_to_a_call(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    heard: list[Event] = []
    forget = pool.listen(heard.append)

    pool.submit(int, "7").result(10)
    assert isinstance(pool.submit(fail, LookupError()).exception(10), LookupError)
    assert pool.with_options(timeout=0.05).submit(gate.wait).exception(10) is not None
    gate.open()  # a thread is told of no end before it has come
    pool.pause()
    late = pool.with_options(total_timeout=0.05).submit(int)
    assert late.exception(10) is not None
    pool.resume()
    pool.resize(2)
    pool.resize(2)  # which changes nothing
    assert pool.submit(int).result(10) == 0
    pool.shutdown()
    forget()

    ends = [(event.name, event.outcome) for event in heard if isinstance(event, TaskEnded)]
    assert sorted(ends) == [("fail", "raised"), ("int", "returned"), ("int", "returned"), ("wait_at", "timed out")]
    assert [event.name for event in heard if isinstance(event, TaskStarted)] == ["int", "fail", "wait_at", "int"]
    assert [event.reason for event in heard if isinstance(event, TaskDiscarded)] == ["timed out"]
    assert [event.size for event in heard if isinstance(event, PoolResized)] == [2]
    hired = {event.worker for event in heard if isinstance(event, WorkerHired)}
    assert hired == {event.worker for event in heard if isinstance(event, WorkerLeft)}
    assert {event.worker for event in heard if isinstance(event, TaskStarted)} <= hired


def test_a_snapshot_names_the_calls_that_run_and_their_workers(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    gate.hold(pool)

    def seen() -> list[tuple[str, str, int]]:
        return [(worker.state, worker.task, worker.started) for worker in pool.stats().table]

    assert eventually(lambda: seen() == [("running", "wait_at", 1)])


# Its life.


def test_a_callback_may_submit_to_a_full_pool(make: Pools, gates: Gates) -> None:
    pool, gate = make(1, queue_size=1), gates()
    [held] = gate.hold(pool)
    inner: list[Any] = []
    held.add_done_callback(lambda _: inner.extend(pool.submit(int, str(n)) for n in range(5)))
    waiting = pool.submit(int)

    gate.open()

    assert waiting.result(10) == 0
    assert eventually(lambda: len(inner) == 5)
    assert [future.result(10) for future in inner] == list(range(5))


def test_a_callback_may_wait_for_a_call_of_its_own_pool(make: Pools) -> None:
    pool = make(1)
    results: list[int] = []

    future = pool.submit(int)
    future.add_done_callback(lambda _: results.append(pool.submit(int, "7").result(10)))

    assert eventually(lambda: results == [7])


def test_a_body_that_raises_cancels_what_waits_and_stops_what_runs(kind: str, gates: Gates, tmp_path: Path) -> None:
    gate, log, begin = gates(), tmp_path / "log", time.monotonic()

    with pytest.raises(LookupError), KINDS[kind](1) as pool:
        running = pool.submit(heeding(gate))
        gate.await_calls()
        waiting = [pool.submit(note, str(log), str(n)) for n in range(100)]
        threading.Timer(0.2, lambda: running.cancel(running=True)).start()  # a thread must be asked
        raise LookupError

    assert all(future.cancelled() for future in waiting)
    assert running.done()
    assert noted(log) == ""
    assert time.monotonic() - begin < PATIENCE


def test_a_body_that_ends_waits_for_everything(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](2) as pool:
        futures = [pool.submit(note, str(tmp_path / "log"), str(n)) for n in range(50)]

    assert [future.result(0) for future in futures] == [str(n) for n in range(50)]
    assert pool.stats().workers == 0


def test_a_forgotten_pool_ends_when_its_work_is_done(kind: str, tmp_path: Path) -> None:
    pool = KINDS[kind](2)
    future, died = pool.submit(note, str(tmp_path / "log"), "done"), weakref.ref(pool)
    workers = [thread for thread in threading.enumerate() if thread.name.startswith(pool.stats().table[0].name[:-2])]

    del pool
    gc.collect()

    assert died() is None
    assert future.result(10) == "done"
    for thread in workers:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in workers)


def test_a_cancelling_shutdown_leaves_what_runs(make: Pools, gates: Gates) -> None:
    pool, gate = make(1), gates()
    [held] = gate.hold(pool)
    waiting = [pool.submit(int) for _ in range(5)]

    leaving = Aside(lambda: pool.shutdown(cancel_futures=True))

    assert eventually(lambda: all(future.cancelled() for future in waiting))
    assert leaving.is_blocked()
    gate.open()
    assert leaving.outcome() is None
    assert held.result(0) == 0
