"""Fault injection: every read and write between a pool and its processes fails once, on either side, in every place.

One scenario is run again and again; in the n-th run, the n-th call of one function fails, until there is no n-th call.
"""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millhand import ProcessPool, WorkerCrashed
from millhand.pool.process import worker_process
from millhand.pool.process.parcel import LARGE
from millhand.pool.process.worker_process import WorkerProcess
from tests.process import calls
from tests.process.calls import noted
from tests.process.faults import MARK, NOTHING, Fault, arm, close_files_and_wait, wait_for
from tests.process.patience import PATIENCE, effects, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

MOST = 100
"""More calls of one function than the scenario makes."""

SOCKET = [
    ("sendall", "EPIPE"),
    ("recv", "ECONNRESET"),
    ("recv", NOTHING),
    ("send_fds", "ETOOMANYREFS"),
    ("recv_fds", NOTHING),
]
MEMORY = [
    ("memfd_create", "EMFILE"),
    ("truncate", "ENOSPC"),
    ("pwrite", "ENOSPC"),
    ("mmap", "ENOMEM"),
]
IN_A_PROCESS = [place for place in SOCKET + MEMORY if place != ("recv", NOTHING)]  # which is how each of them ends


def noted_size(log: Path, n: int, data: bytes) -> int:
    """Note a number; return the size of what came with it."""
    noted(log, n)
    return len(data)


def noted_large(log: Path, n: int) -> bytes:
    """Note a number; return something large."""
    noted(log, n)
    return bytes(LARGE)


def noted_pair(log: Path, pair: tuple[int, bytes]) -> int:
    """Note a number that comes with something large; return it."""
    return noted(log, pair[0])


class Scenario:
    """This is what a pool has to do while something fails, and what came of it, by the number of each call."""

    def __init__(self, pool: ProcessPool, log: Path) -> None:
        self._pool, self._log = pool, log
        self.outcomes: dict[int, Any] = {}
        self.expected: dict[int, Any] = {}

    def play(self) -> None:
        """Have it done, and wait until all of it has ended."""
        self._submit()
        self._map(noted, [*range(100, 110)])
        self._map(noted_pair, [(n, bytes(LARGE)) for n in range(200, 202)])

    def _submit(self) -> None:
        log, futures = self._log, {}
        tries: dict[int, Callable[[], Any]] = {n: partial(self._pool.submit, noted, log, n) for n in range(8)}
        tries[20] = partial(self._pool.submit, noted_size, log, 20, bytes(LARGE))
        tries[21] = partial(self._pool.submit, noted_large, log, 21)
        tries[22] = lambda: self._pool.submit(noted_size, log, 22, self._pool.share(bytes(LARGE)))
        tries |= {n: partial(self._pool.submit, noted, log, n) for n in range(30, 34)}
        self.expected |= {n: n for n in tries} | {20: LARGE, 21: bytes(LARGE), 22: LARGE}
        for n, submit in tries.items():
            try:
                futures[n] = submit()
            except Exception as error:
                self.outcomes[n] = error
        for n, future in futures.items():
            try:
                self.outcomes[n] = future.result(PATIENCE)
            except Exception as error:
                self.outcomes[n] = error

    def _map(self, fn: Callable[..., int], items: list[Any]) -> None:
        numbers = [item if isinstance(item, int) else item[0] for item in items]
        self.expected |= {n: n for n in numbers}
        done = 0
        try:
            with closing(self._pool.map(partial(fn, self._log), items, timeout=PATIENCE)) as results:
                for value in results:
                    self.outcomes[numbers[done]] = value
                    done += 1
        except Exception as error:
            self.outcomes |= dict.fromkeys(numbers[done:], error)  # what comes behind an error, a map cancels

    def assert_that_only_the_fault_shows(self) -> None:
        """Fail if there is a wrong value, an error that tells of something else, or a call that ran twice."""
        ran = Counter(map(int, effects(self._log)))
        assert {n: times for n, times in ran.items() if times > 1} == {}, "these ran twice"
        assert self.outcomes.keys() == self.expected.keys()
        for n, outcome in self.outcomes.items():
            if isinstance(outcome, BaseException):
                assert tells_of_the_fault(outcome), (n, repr(outcome))
            else:
                assert (outcome == self.expected[n], ran[n]) == (True, 1), n


def tells_of_the_fault(error: BaseException | None) -> bool:
    """Whether an error is one that a fault may lead to."""
    while error is not None:
        if isinstance(error, WorkerCrashed) or MARK in str(error):
            return True
        error = error.__cause__
    return False


def works(pool: ProcessPool, size: int, folder: Path) -> bool:
    """Whether a pool has as many workers as before."""
    folder.mkdir()
    futures = [pool.submit(calls.meet, folder, size) for _ in range(size)]
    return len({future.result(20) for future in futures}) == size


def faults(function: str, error: str, folder: Path) -> Iterator[Fault]:
    """One after the other, until one does not happen any more."""
    for n in range(1, MOST):
        fault = Fault(function, error, n, folder / f"{n} fired")
        yield fault
        if not fault.fired.exists():
            assert n > 1, f"nobody has called {function}"
            return
    pytest.fail(f"{function} is called more than {MOST} times")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a process that is given up be waited for only briefly: here it is alive, and nothing comes of waiting."""
    monkeypatch.setattr(worker_process, "LAST_WORDS", 0.05)


@pytest.mark.parametrize(("function", "error"), SOCKET + MEMORY)
@pytest.mark.usefixtures("brief")
def test_what_fails_once_in_the_parent_fails_only_what_it_was_for(
    function: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault in faults(function, error, tmp_path):
        with monkeypatch.context() as patch, ProcessPool(2) as pool:
            if (function, error) in MEMORY:  # with the start of a process, the test below deals
                assert works(pool, 2, tmp_path / f"{fault.n} start")
            arm(fault, partial(patch.setattr, raising=False))
            scenario = Scenario(pool, tmp_path / f"{fault.n} log")

            scenario.play()

            scenario.assert_that_only_the_fault_shows()
            assert works(pool, 2, tmp_path / f"{fault.n} meeting")


@pytest.mark.parametrize(("function", "error"), IN_A_PROCESS)
@pytest.mark.usefixtures("brief")
def test_what_fails_once_in_a_process_fails_only_what_it_was_for(function: str, error: str, tmp_path: Path) -> None:
    for fault in faults(function, error, tmp_path):
        with ProcessPool(1, initializer=arm, initargs=(fault,)) as pool:
            scenario = Scenario(pool, tmp_path / f"{fault.n} log")

            scenario.play()

            scenario.assert_that_only_the_fault_shows()
            assert works(pool, 1, tmp_path / f"{fault.n} meeting")


@pytest.mark.parametrize(("function", "error"), MEMORY[:2])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the test below is about these
def test_a_start_that_fails_once_breaks_no_pool(
    function: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm(Fault(function, error, 1, tmp_path / "fired"), monkeypatch.setattr)
    with ProcessPool(1) as pool:
        outcome = pool.submit(int).exception(PATIENCE)
        assert (tmp_path / "fired").exists()
        assert outcome is None or tells_of_the_fault(outcome)
        still_works = True
        try:
            pool.submit(int).result(PATIENCE)
        except BrokenProcessPool:
            still_works = False
    gc.collect()
    assert still_works


@pytest.mark.parametrize(("function", "error"), MEMORY[:2])
def test_a_start_that_fails_closes_what_it_has_opened(
    function: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm(Fault(function, error, 1, tmp_path / "fired"), monkeypatch.setattr)
    pool = ProcessPool(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pool.submit(int).exception(PATIENCE)
        pool.shutdown()
        gc.collect()

    assert [str(each.message) for each in caught] == []


@pytest.mark.usefixtures("brief")
def test_a_large_result_whose_file_cannot_be_taken_is_not_called_unpicklable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent had no number left for the file. If the call had ended by then, its result was looked for again."""
    take = WorkerProcess.wait

    def wait_until_ended(process: WorkerProcess, timeout: float | None) -> float | None:
        until(lambda: process.ended, "the call has ended")
        return take(process, timeout)

    monkeypatch.setattr(WorkerProcess, "wait", wait_until_ended)
    arm(Fault("recv_fds", NOTHING, 1, tmp_path / "fired"), monkeypatch.setattr)
    with ProcessPool(1) as pool:
        error = pool.submit(bytes, LARGE).exception(PATIENCE)

    assert isinstance(error, WorkerCrashed | OSError), repr(error)


def test_what_a_process_that_has_lost_its_socket_goes_on_with_runs_nowhere_else(
    make: Callable[..., ProcessPool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call closed all its process's files, as daemons do; the calls behind it ran there, and again elsewhere.

    The process ends only when it has run its frame, and it is waited for before it is killed.
    """
    pool, log, go = make(1), tmp_path / "log", tmp_path / "go"
    describe_end = WorkerProcess.describe_end

    def let_go_and_describe(process: WorkerProcess, name: str) -> Exception:
        go.touch()
        return describe_end(process, name)

    monkeypatch.setattr(WorkerProcess, "describe_end", let_go_and_describe)
    # So that it knows these functions already, and takes several calls at once.
    wait([pool.submit(*call) for _ in range(250) for call in ((wait_for, tmp_path), (noted, tmp_path / "other", 0))])
    pool.pause()
    guilty = pool.submit(close_files_and_wait, go)
    behind = [pool.submit(noted, log, n) for n in range(5)]
    pool.resume()

    wait([guilty], PATIENCE)
    wait(behind, PATIENCE)
    assert sorted(effects(log)) == [str(n) for n in range(5)]
