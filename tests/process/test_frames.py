"""Frames: what a process returns, whatever it is and however many at once, comes back equal and in order."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millhand.core.errors import NotPicklable
from millhand.pool.process.channel import Channel, Kind
from millhand.pool.process.child import Bench
from millhand.pool.process.pool import ProcessPool
from millhand.pool.process.sheet import BEGUN, ENDED, HALT, NONE, REAL, SIZE, WHOLE, Memory, Sheet
from tests.process.values import RECIPES, Told, expected, give, seen

ROUNDS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def pool(make: Callable[..., ProcessPool]) -> ProcessPool:
    """One process, which has taken many calls at once, and will again."""
    pool = make(1)
    wait([pool.submit(int) for _ in range(500)], 10)
    return pool


def in_frames(pool: ProcessPool, recipes: list[Any]) -> list[Any]:
    """Submit calls that wait until they are all there; return what became of each."""
    pool.pause()
    futures = [pool.submit(give, recipe) for recipe in recipes]
    pool.resume()
    return [future.exception(20) or future.result() for future in futures]


@pytest.mark.slow
@ROUNDS
@given(recipes=st.lists(RECIPES, max_size=20))
def test_any_mix_of_results_comes_back_equal_and_in_order(pool: ProcessPool, recipes: list[Any]) -> None:
    outcomes = in_frames(pool, recipes)

    assert list(map(seen, outcomes)) == list(map(expected, recipes))


@pytest.mark.slow
@ROUNDS
@given(recipes=st.lists(RECIPES, max_size=20))
def test_a_map_brings_any_mix_of_results_up_to_the_first_error(pool: ProcessPool, recipes: list[Any]) -> None:
    outcomes: list[Any] = []

    try:
        outcomes.extend(pool.map(give, recipes))
    except (Told, NotPicklable) as error:
        outcomes.append(error)

    wanted = list(map(expected, recipes))
    errors = [n for n, (kind, _) in enumerate(wanted) if kind in (Told, NotPicklable)]
    assert list(map(seen, outcomes)) == wanted[: errors[0] + 1 if errors else None]


@pytest.mark.slow
def test_more_than_the_sheet_holds_comes_back_in_order(pool: ProcessPool) -> None:
    recipes = [("bytes", size) for size in range(5_000, 6_000)]

    assert list(map(len, in_frames(pool, recipes))) == list(range(5_000, 6_000))
    assert list(map(len, pool.map(give, recipes))) == list(range(5_000, 6_000))


def test_more_calls_than_the_sheet_has_places_come_back_in_order(pool: ProcessPool) -> None:
    assert list(pool.map(abs, range(20_000))) == list(range(20_000))


def test_arrays_come_back_equal_and_writable(pool: ProcessPool) -> None:
    numpy = pytest.importorskip("numpy")

    for size in (0, 3, 100_000):
        result = pool.submit(numpy.negative, numpy.arange(size)).result(10)
        result += 1

        assert (result == 1 - numpy.arange(size)).all()


def test_an_error_keeps_its_traceback_from_over_there(pool: ProcessPool) -> None:
    error = pool.submit(give, ("error", "told")).exception(10)

    assert isinstance(error, Told)
    assert "in give" in str(error.__cause__)
    assert "millhand" not in str(error.__cause__)


def test_a_result_that_cannot_travel_is_told_with_its_type_and_the_reason(pool: ProcessPool) -> None:
    error = pool.submit(give, ("stays", None)).exception(10)

    assert isinstance(error, NotPicklable)
    assert "Stays" in str(error)
    assert "it stays where it is" in str(error)


PROGRAM = """
import os
import signal

from millhand.pool.process.pool import ProcessPool
from tests.process.values import give

pool = ProcessPool(1)
error = pool.submit(give, ("fails on arrival", None)).exception(10)
crash = pool.submit(signal.raise_signal, signal.SIGKILL).exception(10)
print(type(error).__name__, error, type(crash).__name__, pool.submit(int).result(10), flush=True)
os._exit(0)
"""


def test_a_result_that_cannot_arrive_is_told_with_the_reason(make: Callable[..., ProcessPool]) -> None:
    error = make(1).submit(give, ("fails on arrival", None)).exception(10)

    assert isinstance(error, NotPicklable)
    assert "it is not welcome" in str(error)


@pytest.mark.slow
def test_who_keeps_an_error_of_a_result_that_could_not_arrive_costs_the_pool_nothing() -> None:
    """The error's traceback kept a view of the sheet, so that the sheet of a dead process could not be closed.

    That ended the worker's thread, and who waited for the call was never told. In a program of its own, since then
    nobody ended the process either.
    """
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stdout.split()[:1] == ["NotPicklable"], ended.stderr
    assert ended.stdout.split()[-2:] == ["WorkerCrashed", "0"]


# A bench in a thread: what it does to the sheet, step by step.


class Run:
    """This is a bench in a thread of this process, and the parent's end of what it is given."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        memory = Memory(SIZE)
        self.channel, self.sheet = Channel(here), Sheet(memory)
        self.theirs, self._there = Sheet(memory), there
        memory.close()
        self._ended: list[type] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            Bench(Channel(self._there), self.theirs).serve()
        except EOFError:
            self._ended.append(EOFError)

    def send(self, *calls: Callable[[], Any]) -> None:
        """Send calls, each by its name in this module."""
        self.sheet.begin(len(calls))
        pickles = [pickle.dumps((call, (), {})) for call in calls]
        body = b"".join([*(struct.pack("II", 0, len(each)) for each in pickles), *pickles])
        self.channel.send(Kind.CALLS, len(calls), body)

    def over(self) -> int:
        """Return how long the frame took, when it is over."""
        kind, number, _, _ = self.channel.receive()
        assert kind is Kind.OVER
        return number

    def outcome(self) -> type:
        """Return what it ended with."""
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self._ended[0]

    def close(self) -> None:
        self.channel.close()
        self.outcome()
        self._there.close()
        self.theirs.close()
        self.sheet.close()


current: list[Run] = []
looks: list[list[int]] = []


@pytest.fixture
def bench() -> Iterator[Run]:
    run = Run()
    current.append(run)
    yield run
    current.clear()
    looks.clear()
    run.close()


def look() -> float:
    """Keep how far the frame is, as the parent sees it."""
    looks.append(current[0].sheet.words[:2].tolist())
    return 0.5


def halt() -> None:
    """Have nothing further begin."""
    current[0].sheet.words[HALT] = 1


def test_a_result_is_on_the_sheet_before_the_next_call_begins(bench: Run) -> None:
    bench.send(look, look, look)
    took = bench.over()

    assert looks == [[1, 0], [2, 1], [3, 2]]
    assert (bench.sheet.words[BEGUN], bench.sheet.words[ENDED]) == (3, 3)
    assert bytes(bench.sheet.kinds[:3]) == bytes([REAL] * 3)
    assert bench.sheet.reals[:3].tolist() == [0.5] * 3
    assert took > 0


def test_after_a_halt_nothing_begins_and_the_frame_is_over(bench: Run) -> None:
    bench.send(look, halt, look, look)
    bench.over()

    assert len(looks) == 1
    assert bench.sheet.words[:2].tolist() == [2, 2]
    assert bytes(bench.sheet.kinds[:2]) == bytes([REAL, NONE])


def test_the_next_frame_begins_at_the_first_place(bench: Run) -> None:
    bench.send(look, look)
    bench.over()
    bench.send(int)
    bench.over()

    assert bench.sheet.words[:2].tolist() == [1, 1]
    assert (bench.sheet.kinds[0], bench.sheet.wholes[0]) == (WHOLE, 0)


class HaltedAtOnce(list[int]):
    """These are the words of a sheet whose frame is halted right after the child has looked whether it is."""

    def __init__(self) -> None:
        super().__init__([0] * 3)
        self.kept = 0
        """How many items may run after the halt, as the parent sees it then: one may be under way."""

    def __getitem__(self, n: Any) -> Any:
        seen = super().__getitem__(n)
        if n == HALT and not seen and self[BEGUN] >= 3:
            self.kept = max(self[ENDED], self[BEGUN] - 1) + 1
            self[HALT] = 1
        return seen


def test_a_halt_that_the_child_has_just_not_seen_keeps_no_more_than_the_item_under_way(
    bench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more ran: the child had looked before it said that the next one has begun. It ran twice, and a map hung."""
    words = HaltedAtOnce()
    monkeypatch.setattr(bench.theirs, "words", words)

    bench.channel.send(Kind.ITEMS, 10, pickle.dumps((abs, range(10))))
    bench.over()

    assert words[ENDED] == words[BEGUN] == words.kept == 3


def test_it_ends_when_its_parent_closes_the_channel(bench: Run) -> None:
    bench.channel.close()

    assert bench.outcome() is EOFError
