"""The crash matrix: where a process dies × how × how it was started. The guilty call is told, and no other is touched.

Each test lets the processes of one pool die in all the ways, one after the other, at one place, so that it also tells
that a pool survives many deaths. Calls note in a file that they ran, which tells of those that ran twice.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from millhand.core.errors import WorkerCrashed
from millhand.pool.process import worker_process
from millhand.pool.process.lifeline import keep_from_forks
from millhand.pool.process.pool import ProcessPool
from tests.process import calls
from tests.process.calls import CODE, DEATHS, LAST_WORDS, Deadly, noted, noted_or_dead
from tests.process.patience import PATIENCE, effects, until_gone

pytestmark = pytest.mark.slow

Make = Callable[..., ProcessPool]
ALL_WAYS = [*DEATHS, "sys.exit"]


@pytest.fixture
def pool(make: Make, method: str) -> ProcessPool:
    return make(2, method)


@pytest.fixture(autouse=True)
def works_afterwards(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """After whatever a test did to its pool, as many calls run at once as before."""
    pool = request.getfixturevalue("pool") if "pool" in request.fixturenames else None
    yield
    if pool is not None:
        size_is(pool, 2, tmp_path)


def size_is(pool: ProcessPool, size: int, folder: Path) -> None:
    """Fail if not as many calls run at once, each in a process of its own."""
    place = folder / "meeting"
    place.mkdir()
    futures = [pool.submit(calls.meet, place, size) for _ in range(size)]
    assert len({future.result(20) for future in futures}) == size


def assert_told(future: Future[Any], how: str, name: str) -> None:
    """Fail if the call is not told how its process died, and what that said last."""
    error = future.exception(PATIENCE)
    if how == "sys.exit":
        assert (type(error), str(error)) == (SystemExit, str(CODE))
        return
    assert isinstance(error, WorkerCrashed), (how, error)
    assert (error.reason, error.exitcode) == DEATHS[how]
    assert error.name == name
    # What faulthandler adds to the last words may be more than is kept.
    assert LAST_WORDS in error.stderr or (how in ("SIGSEGV", "abort") and "  File " in error.stderr)


def beside(pool: ProcessPool, log: Path, guilty: Callable[[], Future[Any]]) -> Future[Any]:
    """Submit a guilty call between innocent ones; see that these ran, each once; return the guilty one's future."""
    log.unlink(missing_ok=True)
    before = [pool.submit(noted, log, n) for n in range(5)]
    future = guilty()
    behind = [pool.submit(noted, log, n) for n in range(5, 10)]

    assert [each.result(PATIENCE) for each in before + behind] == list(range(10))
    wait([future], PATIENCE)
    assert sorted(effects(log), key=int) == [str(n) for n in range(10)]
    return future


# Where it dies.


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_dying_in_the_initializer_breaks_the_pool_and_says_what_it_died_of(make: Make, method: str, how: str) -> None:
    pool = make(2, method, calls.die, (how,))

    error = pool.submit(int).exception(20)

    assert isinstance(error, BrokenProcessPool)
    assert DEATHS[how][0] in str(error)
    with pytest.raises(BrokenProcessPool):
        pool.submit(int)


def test_sys_exit_in_the_initializer_breaks_the_pool_and_says_so(make: Make, method: str) -> None:
    pool = make(2, method, calls.die, ("sys.exit",))

    error = pool.submit(int).exception(20)

    assert isinstance(error, BrokenProcessPool)
    assert "SystemExit: 3" in str(error)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.parametrize("method", ["fork"])
def test_a_fork_that_hangs_at_a_lock_is_replaced(
    make: Make, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test's process hung for ever at the lock of a tracer, which another thread held in the moment of the fork."""
    monkeypatch.setattr(worker_process, "BIRTH", 0.3)
    traps = [tmp_path / "trap"]
    traps[0].touch()
    lock = HeldLock(traps)
    keep_from_forks(lock)  # type: ignore[arg-type]  # all that it needs is to be closed

    assert make(1, method).submit(pow, 2, 3).result(PATIENCE) == 8
    assert not traps[0].exists()

    traps += [tmp_path / f"trap{n}" for n in range(3)]
    for trap in traps[1:]:
        trap.touch()
    with pytest.raises(BrokenProcessPool, match=r"hangs since its fork.*forkserver"):
        make(1, method).submit(int).result(PATIENCE)


class HeldLock:
    """This hangs in the first forked processes: one for each of some files that are there."""

    def __init__(self, traps: list[Path]) -> None:
        self._traps = traps

    def close(self) -> None:
        for trap in self._traps:
            with suppress(FileNotFoundError):
                trap.unlink()
                threading.Event().wait()


def test_dying_while_unpickling_the_arguments_fails_that_call_alone(pool: ProcessPool, tmp_path: Path) -> None:
    for how in ALL_WAYS:
        deadly = Deadly(how)

        future = beside(pool, tmp_path / "log", lambda deadly=deadly: pool.submit(calls.swallow, deadly))  # type: ignore[misc]  # a default that binds

        assert_told(future, how, "swallow")


def test_dying_inside_the_call_fails_that_call_alone(pool: ProcessPool, tmp_path: Path) -> None:
    for how in ALL_WAYS:
        future = beside(pool, tmp_path / "log", lambda how=how: pool.submit(calls.die, how))  # type: ignore[misc]  # as above

        assert_told(future, how, "die")


@pytest.mark.parametrize("place", ["die_while_pickling", "die_while_writing", "die_while_handing_over"])
def test_dying_on_the_way_of_a_result_fails_that_call_alone(pool: ProcessPool, tmp_path: Path, place: str) -> None:
    for how in DEATHS:
        call = getattr(calls, place)

        future = beside(pool, tmp_path / "log", lambda how=how, call=call: pool.submit(call, how))  # type: ignore[misc]  # as above

        assert_told(future, how, place)


@pytest.mark.parametrize("how", ["SIGSEGV", "abort"])
def test_who_dies_in_c_code_tells_where_it_was(make: Make, method: str, how: str) -> None:
    error = make(1, method).submit(calls.die, how).exception(PATIENCE)

    assert isinstance(error, WorkerCrashed)
    assert "Fatal Python error" in error.stderr
    assert "in die" in error.stderr


def test_sys_exit_while_pickling_the_result_is_what_the_call_has_raised(make: Make) -> None:
    error = make(1).submit(calls.die_while_pickling, "sys.exit").exception(PATIENCE)

    assert isinstance(error, SystemExit)


def test_dying_between_calls_fails_none(make: Make, method: str, tmp_path: Path) -> None:
    pool = make(1, method)
    for how in ALL_WAYS:
        pid = pool.submit(calls.die_between_calls, how).result(PATIENCE)

        os.kill(pid, signal.SIGUSR1)
        futures = [pool.submit(noted, tmp_path / how, n) for n in range(5)]  # maybe before it is dead
        until_gone(pid)

        assert [future.result(PATIENCE) for future in futures] == list(range(5))
        assert effects(tmp_path / how) == [str(n) for n in range(5)]
        assert pool.submit(os.getpid).result(PATIENCE) != pid


def test_dying_between_calls_unnoticed_fails_none(make: Make, tmp_path: Path) -> None:
    """Nobody looks at a process that has nothing to do: whoever gives it a call finds it dead."""
    pool = make(1)
    for how in ALL_WAYS:
        pid = pool.submit(calls.die_between_calls, how).result(PATIENCE)
        os.kill(pid, signal.SIGUSR1)
        until_gone(pid)

        assert pool.submit(noted, tmp_path / "log", 1).result(PATIENCE) == 1

    assert effects(tmp_path / "log") == ["1"] * len(ALL_WAYS)


def test_dying_in_a_frame_of_small_calls_fails_one_and_the_others_run_once(pool: ProcessPool, tmp_path: Path) -> None:
    for how in ALL_WAYS:
        wait([pool.submit(int) for _ in range(300)], PATIENCE)  # from now on, frames have many calls
        log = tmp_path / how
        pool.pause()
        futures = [pool.submit(noted_or_dead, log, n, 37, how) for n in range(80)]
        pool.resume()

        assert_told(futures.pop(37), how, "noted_or_dead")
        assert [future.result(PATIENCE) for future in futures] == [n for n in range(80) if n != 37]
        assert sorted(effects(log), key=int) == [str(n) for n in range(80)]


@pytest.mark.parametrize("ordered", [True, False])
def test_dying_in_a_span_of_a_map_fails_that_item_and_no_other_runs_twice(
    pool: ProcessPool, tmp_path: Path, ordered: bool
) -> None:
    for how in ALL_WAYS:
        log = tmp_path / how
        results: list[int] = []
        future: Future[Any] = Future()

        try:
            for value in pool.map(Item(log, 370, how), range(500), ordered=ordered):
                results.append(value)  # noqa: PERF402 - all that came before the error is kept
        except BaseException as error:
            future.set_exception(error)

        assert_told(future, how, "Item")
        if ordered:
            assert results == list(range(370))
        noted_items = effects(log)
        assert len(noted_items) == len(set(noted_items))
        assert {str(value) for value in results} <= set(noted_items)


class Item:
    """This is `noted_or_dead` for a map: one argument."""

    def __init__(self, log: Path, deadly: int, how: str) -> None:
        self._rest = (deadly, how)
        self._log = log

    def __call__(self, n: int) -> int:
        return noted_or_dead(self._log, n, *self._rest)


def test_dying_while_unpickling_an_item_of_a_map_fails_that_item_and_none_before_it(make: Make) -> None:
    pool, results = make(1), list[None]()
    items: list[Any] = [*range(37), Deadly("SIGKILL"), *range(5)]

    with pytest.raises(WorkerCrashed):
        results.extend(pool.map(calls.swallow, items))

    assert len(results) == 37
