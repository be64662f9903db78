"""Do these tests find bugs? Each one puts a bug into the pool of processes, and a short trial must report it."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millhand.core.errors import TaskTimeout, WorkerCrashed
from millhand.pool.process import child
from millhand.pool.process.minder import Minder
from millhand.pool.process.pool import ProcessPool
from millhand.pool.process.worker_process import WorkerProcess
from tests.process.calls import noted, noted_or_dead, sleep, with_child
from tests.process.patience import effects, is_there, told

pytestmark = [
    pytest.mark.slow,
    pytest.mark.untraced,  # it forks, see conftest.py
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="what is changed here gets to processes by a fork only"),
]

SOON = 3.0
"""How long anything may take that takes milliseconds."""
CALLS, DEADLY = 80, 37
TRIALS = 5
"""How many a bug may hide from: what travels together is a matter of time, and it may be the deadly call alone."""

Mutation = Callable[[pytest.MonkeyPatch], None]
Violations = list[str]


def having(owner: object, name: str, value: object) -> Mutation:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def forgetting(process: WorkerProcess) -> int:
    """Return how many calls of its frame have ended, as if the dead left no results."""
    sheet_says: int = process._sheet.ended  # noqa: SLF001 - a mutant
    return 0 if process._await_end(0) else sheet_says  # noqa: SLF001 - a mutant


def strike_one(process: WorkerProcess) -> None:
    """Kill a process, and nothing that it has started."""
    with suppress(OSError):
        os.kill(process.pid, signal.SIGKILL)


BUGS: dict[str, Mutation] = {
    "what had ended in a process that died runs again": having(WorkerProcess, "ended", property(forgetting)),
    "what a process died in runs again": having(WorkerProcess, "is_in_a_call", False),
    "what stood behind a death is lost": having(Minder, "_without_stopped", lambda *_: []),
    "what waits behind a long call is not taken back": having(WorkerProcess, "halt", lambda _: None),
    "a process that is halted goes on": having(child, "HALT", 7),
    "what a killed call has started lives on": having(WorkerProcess, "_strike", strike_one),
    "a call that is out of time is told, and goes on": having(WorkerProcess, "kill", lambda *_: True),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_found(attempt: int) -> bool:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        BUGS[bug](monkeypatch)
        return trial(folder, monkeypatch) != []

    assert any(map(is_found, range(TRIALS)))


def test_without_a_bug_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial(tmp_path, monkeypatch) == []


def trial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Violations:
    """Have a pool go through a death, a long call between short ones, and a timeout; return what is wrong."""
    pool, found = ProcessPool(2, "fork"), list[str]()
    try:
        for ordeal in (one_dies, one_is_long, one_overstays):
            found = found or ordeal(pool, folder)
    finally:
        monkeypatch.undo()
        pool._crew.abandon()  # noqa: SLF001 - a bug may have it wait for ever
        pool.shutdown(cancel_futures=True)
    return found


def one_dies(pool: ProcessPool, folder: Path) -> Violations:
    log = folder / "deaths"
    futures = in_frames(pool, [partial(noted_or_dead, log, n, DEADLY, "SIGKILL") for n in range(CALLS)])
    found = [f"{n} has no end" for n, future in enumerate(futures) if not future.done()]
    ended = [future for future in futures if future.done()]
    if sum(isinstance(future.exception(), WorkerCrashed) for future in ended) != 1:
        found.append("not just one was told of the death")
    return found + twice(log)


def one_is_long(pool: ProcessPool, folder: Path) -> Violations:
    log = folder / "short ones"
    calls: list[Callable[[], object]] = [partial(noted, log, n) for n in range(CALLS)]
    calls.insert(CALLS // 4, partial(wait_for_all, log, CALLS))
    futures = in_frames(pool, calls)
    if not all(future.done() and future.result() for future in [futures[CALLS // 4]]):
        return ["something short waited behind something long"]
    return twice(log)


def one_overstays(pool: ProcessPool, folder: Path) -> Violations:
    future = pool.with_options(timeout=0.2).submit(with_child, folder / "pids", sleep)
    pids = told(folder / "pids")
    wait([future], SOON)
    if not (future.done() and isinstance(future.exception(), TaskTimeout)):
        return ["a timeout did not strike"]
    deadline = time.monotonic() + SOON
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.002)
    left = [pid for pid in pids if is_there(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return [f"{len(left)} processes lived on"] if left else []


def in_frames(pool: ProcessPool, calls: list[Callable[[], object]]) -> list[Future[Any]]:
    """Submit calls so that many travel together; return their futures when all have ended that will."""
    wait([pool.submit(int) for _ in range(300)], SOON)
    pool.pause()
    futures: list[Future[Any]] = [pool.submit(call) for call in calls]
    pool.resume()
    wait(futures, SOON)
    return futures


def wait_for_all(log: Path, count: int) -> bool:
    """Return whether so many others come to their end while this one runs."""
    deadline = time.monotonic() + SOON / 2
    while time.monotonic() < deadline:
        if len(effects(log)) >= count:
            return True
        time.sleep(0.002)
    return False


def twice(log: Path) -> Violations:
    return [f"{n} ran {times} times" for n, times in Counter(effects(log)).items() if times > 1]
