"""Limits of calls in processes are hard: time, cancellation, how many calls one runs, and the life of the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest

from millhand.core.errors import TaskTimeout
from millhand.pool.process.pool import ProcessPool
from tests.process import calls
from tests.process.patience import PATIENCE, effects, is_there, told, until_gone

Make = Callable[..., ProcessPool]
STUBBORN = ["spin", "compute_in_c", "sleep", "ignore_sigterm"]


class Held:
    """This is a call that runs until it is let go."""

    def __init__(self, pool: ProcessPool, folder: Path, name: str = "held") -> None:
        self._end = folder / f"{name} end"
        self.began = folder / f"{name} began"
        self.future = pool.submit(calls.hold, self.began, self._end)
        [self.pid] = told(self.began)

    def let_go(self) -> int:
        """Return the number of the process that it ended in."""
        self._end.touch()
        return self.future.result(PATIENCE)


@pytest.fixture
def victims() -> Iterator[list[int]]:
    """Processes that are to be gone; those that are not are killed, so that no other test is blamed."""
    pids: list[int] = []
    yield pids
    for pid in filter(is_there, pids):
        os.kill(pid, signal.SIGKILL)


# Time.


@pytest.mark.slow
@pytest.mark.parametrize("what", STUBBORN)
def test_a_call_beyond_its_timeout_fails_and_is_gone_with_all_it_has_started(
    make: Make, tmp_path: Path, victims: list[int], what: str
) -> None:
    pool = make(2)
    other = Held(pool, tmp_path)

    future = pool.with_options(timeout=0.3).submit(calls.with_child, tmp_path / "pids", getattr(calls, what))
    began = time.monotonic()
    victims += told(tmp_path / "pids")

    with pytest.raises(TaskTimeout):
        future.result(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    until_gone(*victims)
    assert is_there(other.pid)
    assert other.let_go() == other.pid


def test_a_timeout_costs_no_capacity(make: Make, tmp_path: Path) -> None:
    pool = make(2)
    futures = [pool.with_options(timeout=0.05).submit(calls.spin) for _ in range(4)]

    wait(futures, PATIENCE)

    assert [type(future.exception(0)) for future in futures] == [TaskTimeout] * 4
    place = tmp_path / "meeting"
    place.mkdir()
    assert len({future.result(20) for future in [pool.submit(calls.meet, place, 2) for _ in range(2)]}) == 2


# Cancellation.


@pytest.mark.parametrize("what", STUBBORN)
def test_a_running_call_that_is_cancelled_is_gone_with_all_it_has_started(
    make: Make, tmp_path: Path, victims: list[int], what: str
) -> None:
    pool = make(2)
    other = Held(pool, tmp_path)
    future = pool.submit(calls.with_child, tmp_path / "pids", getattr(calls, what))
    victims += told(tmp_path / "pids")

    assert future.cancel(running=True)

    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    until_gone(*victims)
    assert other.let_go() == other.pid
    assert pool.submit(int).result(PATIENCE) == 0


@pytest.mark.parametrize("which", [1, 5, 9])
def test_a_call_behind_a_running_one_in_its_frame_can_be_cancelled_and_the_running_one_is_not_touched(
    make: Make, tmp_path: Path, which: int
) -> None:
    pool, log, began, end = make(1), tmp_path / "log", tmp_path / "began", tmp_path / "end"
    wait([pool.submit(int) for _ in range(300)], PATIENCE)  # from now on, frames have many calls
    pool.pause()
    running = pool.submit(calls.hold, began, end)
    behind = [pool.submit(calls.noted, log, n) for n in range(1, 10)]
    pool.resume()
    [pid] = told(began)

    assert behind.pop(which - 1).cancel(running=True)
    end.touch()

    assert running.result(PATIENCE) == pid
    wanted = [n for n in range(1, 10) if n != which]
    assert [future.result(PATIENCE) for future in behind] == wanted
    assert effects(log) == list(map(str, wanted))
    assert pool.submit(os.getpid).result(PATIENCE) == pid


def test_a_running_call_in_a_frame_can_be_cancelled_and_those_behind_it_run_once(make: Make, tmp_path: Path) -> None:
    pool, log = make(1), tmp_path / "log"
    wait([pool.submit(int) for _ in range(300)], PATIENCE)
    pool.pause()
    before = [pool.submit(calls.noted, log, n) for n in range(5)]
    running = pool.submit(calls.hold, tmp_path / "began", tmp_path / "never")
    behind = [pool.submit(calls.noted, log, n) for n in range(5, 10)]
    pool.resume()
    [pid] = told(tmp_path / "began")

    assert running.cancel(running=True)

    assert [future.result(PATIENCE) for future in before + behind] == list(range(10))
    assert running.cancelled()
    assert effects(log) == list(map(str, range(10)))
    until_gone(pid)


def test_a_call_in_the_queue_can_be_cancelled_and_never_runs(make: Make, tmp_path: Path) -> None:
    pool, log = make(1), tmp_path / "log"
    held = Held(pool, tmp_path)
    queued = pool.submit(calls.noted, log, 1)

    assert queued.cancel(running=True)

    assert queued.cancelled()
    assert held.let_go() == held.pid
    assert pool.submit(calls.noted, log, 2).result(PATIENCE) == 2
    assert effects(log) == ["2"]


def test_a_group_that_fails_kills_those_of_its_calls_that_run_and_no_other(
    make: Make, tmp_path: Path, victims: list[int]
) -> None:
    pool = make(3)
    other = Held(pool, tmp_path)

    with pytest.raises(ExceptionGroup) as caught, pool.group() as group:  # noqa: PT012 - the body is what is tested
        group.submit(calls.with_child, tmp_path / "pids", calls.ignore_sigterm)
        victims += told(tmp_path / "pids")
        group.submit(calls.fail)

    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    until_gone(*victims)
    assert other.let_go() == other.pid


# How many calls a process runs.


def test_a_process_is_replaced_after_so_many_calls(make: Make) -> None:
    pool = make(1, max_tasks_per_child=3)

    pids = [pool.submit(os.getpid).result(PATIENCE) for _ in range(10)]

    assert sorted(Counter(pids).values()) == [1, 3, 3, 3]


def test_a_process_is_replaced_after_so_many_calls_also_in_frames(make: Make) -> None:
    pool = make(1, max_tasks_per_child=10)
    wait([pool.submit(int) for _ in range(100)], PATIENCE)
    pool.pause()
    futures = [pool.submit(os.getpid) for _ in range(95)]
    pool.resume()

    assert max(Counter(future.result(PATIENCE) for future in futures).values()) <= 10


@pytest.mark.slow
def test_a_process_is_replaced_after_so_many_items_of_a_map(make: Make) -> None:
    pool = make(1, max_tasks_per_child=10)

    pids = list(pool.map(pid_for, range(100)))

    assert max(Counter(pids).values()) <= 10


def pid_for(_: object) -> int:
    """Return the number of the process that this runs in."""
    return os.getpid()


# The parent's life.

PROGRAM = """
import sys
from pathlib import Path

from millhand.pool.process.pool import ProcessPool
from tests.process import calls

if __name__ == "__main__":
    folder, what, method, workers = Path(sys.argv[1]), getattr(calls, sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with ProcessPool(workers, method) as pool:
        for n in range(workers):
            pool.submit(calls.with_child, folder / str(n), what)
"""


@pytest.fixture
def start(tmp_path: Path, victims: list[int]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a program with a pool of which all workers run a call; fills in `victims`."""
    programs: list[subprocess.Popen[bytes]] = []

    def start_one(what: str, method: str, workers: int) -> subprocess.Popen[bytes]:
        file = tmp_path / "program.py"
        file.write_text(PROGRAM)
        arguments = [sys.executable, str(file), str(tmp_path), what, method, str(workers)]
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        program = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": paths})
        programs.append(program)
        for n in range(workers):
            victims.extend(told(tmp_path / str(n)))
        return program

    yield start_one
    for program in programs:
        program.kill()
        program.wait()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("what", [each for each in STUBBORN if each != "compute_in_c"])
def test_workers_and_what_they_started_die_with_a_parent_that_is_killed(
    start: Callable[..., subprocess.Popen[bytes]], victims: list[int], what: str, method: str, workers: int
) -> None:
    program = start(what, method, workers)
    assert all(map(is_there, victims))

    program.kill()

    until_gone(*victims)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_in_c_code_die_with_a_parent_that_is_killed(
    start: Callable[..., subprocess.Popen[bytes]], victims: list[int], method: str, workers: int
) -> None:
    """No thread of theirs gets to run, so the kernel must see to it, for each of them.

    It did for none while a thread waited in recv (then it sends no SIGIO for that socket), and for one while they
    shared an open file, which has one owner.
    """
    program = start("compute_in_c", method, workers)
    assert all(map(is_there, victims))

    program.kill()

    until_gone(*victims)


def test_to_kill_what_has_ended_is_no_error(make: Callable[..., ProcessPool]) -> None:
    """Whoever cancels may hold a process that its minder closes at this moment: the sheet was gone, and it raised."""
    pool = make(1)
    task = pool.submit(int)
    assert task.result(PATIENCE) == 0
    [process] = pool._crew._processes()  # noqa: SLF001 - as `interrupt` gets it

    pool.shutdown()

    assert not process.kill(task, RuntimeError())
