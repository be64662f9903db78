"""A pool of processes beside the model that the thread pool has (tests.pool.test_machine), and beside what it adds.

In processes, a call tells of its beginning in a file, and waits until a file tells it to end, or to die. Of calls with
options, each travels by itself, so the model of threads holds to the letter. Of those without, a process takes several
into a frame, and gives back what it has not begun: they pass the same test when all has come to rest.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from millhand import ProcessPool, WorkerCrashed
from tests.pool.test_machine import PICK, PoolMachine
from tests.process.calls import note, noted
from tests.process.patience import PATIENCE, effects, until

LOG, OTHERS = "log", "others"
WARMING = 100
"""After how many quick calls a process takes several at once."""
DEEDS = st.lists(
    st.sampled_from(["quick", "quick", "quick", "die", "cancel", "stop", "pause", "resume", "resize"]), max_size=20
)


class Gate:
    """This is a file that says how the call that waits for it ends; as an Event, it can be set."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self) -> None:
        """Let the call return, unless it was told something else."""
        if not self._path.exists():
            self.tell("return")

    def tell(self, end: str) -> None:
        """Tell the call how to end."""
        draft = self._path.with_suffix(".draft")
        draft.write_text(end)
        draft.rename(self._path)


class FarCall:
    """One call, as `Call` for threads; what travels of it is where its files are."""

    def __init__(self, number: int, priority: int, folder: Path) -> None:
        self.number, self.priority, self._folder = number, priority, folder
        self.release = Gate(folder / str(number))
        self.cancelled = self.killed = self.stopped = False
        self.runs = 0
        self.future: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Errand, (self._folder, self.number)

    def end(self) -> str:
        """Return how its future ended."""
        if self.future.cancelled():
            return "cancelled"
        error = self.future.exception(0)
        assert error is None or isinstance(error, WorkerCrashed), error
        assert error or self.future.result(0) == self.number
        return "done" if error is None else "failed"

    def expected_end(self) -> str:
        """Return how it has to end."""
        return "cancelled" if self.cancelled or self.stopped else "failed" if self.killed else "done"


class Errand:
    """What a process makes of it."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number

    def __call__(self) -> int:
        note(self._folder / LOG, self._number)
        gate = self._folder / str(self._number)
        until(gate.exists, "the machine lets it end", 60)
        if gate.read_text() == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._number


def noted_unless_deadly(log: Path, deadly: int, n: int) -> int:
    """Note a number, and return it, or die if it is that one."""
    if n == deadly:
        die_after(log, n)
    return noted(log, n)


def die_after(log: Path, n: int) -> None:
    """Note a number, and die."""
    note(log, n)
    os.kill(os.getpid(), signal.SIGKILL)


class ProcessMachine(PoolMachine):
    """The model of threads; and calls that die, are stopped while they run, or come in a burst."""

    patience = 15.0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.folder.mkdir()
        self.numbers = count(1_000)
        self.read = 0
        """How many lines of the log are known."""

    def make_pool(self, size: int) -> ProcessPool:
        return ProcessPool(size, queue_size=self.bound, when_full="reject", ageing=None)

    def make_call(self, number: int, priority: int) -> FarCall:
        return FarCall(number, priority, self.folder)

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def kill_one(self, pick: int) -> None:
        call = self.running.pop(pick % len(self.running))
        call.killed = True
        call.release.tell("die")
        assert isinstance(call.future.exception(self.patience), WorkerCrashed)
        self.failed += 1
        self._settle()

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def stop_one(self, pick: int) -> None:
        call = self.running.pop(pick % len(self.running))
        call.stopped = True
        assert call.future.cancel(running=True)
        wait([call.future], self.patience)
        assert call.future.cancelled()
        self.stopped += 1
        self._settle()

    @precondition(lambda self: self.has_room())
    @rule(n=st.integers(0, 30), ordered=st.booleans(), deadly=st.integers(0, 60))
    def map(self, n: int, ordered: bool, deadly: int) -> None:
        numbers = [next(self.numbers) for _ in range(n)]
        deadly += numbers[0] if numbers else 0

        results = self.pool.map(partial(noted_unless_deadly, self.folder / OTHERS, deadly), numbers, ordered=ordered)

        if deadly in numbers:
            with pytest.raises(WorkerCrashed):
                list(results)
        else:
            assert sorted(results) == numbers
        self._take_over_the_counts()

    @precondition(lambda self: self.has_room())
    @rule(deeds=DEEDS, size=st.integers(1, 3), pick=PICK)
    def burst(self, deeds: list[str], size: int, pick: int) -> None:
        """Do one thing after the other without looking what comes of it; then look at how the calls ended."""
        log, pool, futures = self.folder / OTHERS, self.pool, dict[int, Future[Any]]()
        deadly, called_off = set(), set()
        for deed in deeds:
            number = next(self.numbers)
            match deed:
                case "quick" | "die" if len(futures) < self.bound:
                    futures[number] = pool.submit(die_after if deed == "die" else noted, log, number)
                    deadly |= {number} if deed == "die" else set()
                case "cancel" | "stop" if futures:
                    number = list(futures)[pick % len(futures)]
                    if futures[number].cancel(**({"running": True} if deed == "stop" else {})):
                        called_off.add(number)
                case "pause":
                    pool.pause()
                case "resume":
                    pool.resume()
                case "resize":
                    pool.resize(size)
        pool.resume()
        pool.resize(self.size)

        assert not wait(futures.values(), self.patience).not_done, (deeds, pool.stats())
        self._wait(lambda: pool._crew.line.waiting() == 0)  # noqa: SLF001 - what was cancelled holds its place until then
        for number, future in futures.items():
            if future.cancelled():
                assert number in called_off
                self.stopped += 1
            elif number in deadly:
                assert isinstance(future.exception(), WorkerCrashed)
                self.failed += 1
            else:
                assert future.result() == number
                self.done += 1

    def has_room(self) -> bool:
        """Return whether a call that is submitted now begins at once."""
        return not (self.pool is None or self.closed or self.paused or self.waiting) and len(self.running) < self.size

    def check_ends(self) -> None:
        self._read_the_log()
        for call in self.calls:
            assert call.end() == call.expected_end()
            assert call.runs == (not call.cancelled)
        assert set(Counter(effects(self.folder / OTHERS)).values()) <= {1}
        stats = self.pool.stats()
        returned = [call for call in self.running + self.waiting if not call.cancelled]  # since the model counted
        assert (stats.failed, stats.done) == (self.failed, self.done + len(returned))
        assert stats.cancelled == self.stopped + sum(call.cancelled for call in self.calls)

    def _wait(self, reached: Callable[[], bool]) -> None:
        super()._wait(lambda: self._read_the_log() and reached())

    def _read_the_log(self) -> bool:
        """Note who has begun since it was read last; return True."""
        lines = effects(self.folder / LOG)
        for line in lines[self.read :]:
            call = self.calls[int(line)]
            call.runs += 1
            self.begun.append(call)
        self.read = len(lines)
        return True

    def _take_over_the_counts(self) -> None:
        """Believe what a map has counted: how far it came before it failed is nobody's business."""
        self._wait(lambda: self.pool.stats().running == len(self.running))
        stats = self.pool.stats()
        self.done, self.failed = stats.done, stats.failed
        self.stopped = stats.cancelled - sum(call.cancelled for call in self.calls)


class FramesMachine(ProcessMachine):
    """The same with calls that travel in frames, which the bound and the order of a queue do not know of."""

    bound = 1_000_000

    @precondition(lambda self: self.has_room())
    @rule(n=st.integers(2, 5))
    def submit_several_at_once(self, n: int) -> None:
        """Have processes take several into a frame, having learned that calls are quick, and give back what waits."""
        futures = [self.pool.submit(int) for _ in range(WARMING)]
        assert not wait(futures, self.patience).not_done
        self.done += len(futures)
        self.pause()
        for _ in range(n):
            self._submit(0)
        self.resume()

    def _submit(self, priority: int) -> bool:
        return len(self.waiting) < ProcessMachine.bound and super()._submit(priority)

    def view(self, priority: int) -> Any:
        return super().view(priority) if self.ordered else self.pool

    def has_passed_the_cancelled(self) -> bool:
        """Return whether processes have given back what they have not begun."""
        return not any(call.future.running() for call in self.waiting)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("machine", [ProcessMachine, FramesMachine])
def test_a_pool_of_processes_does_what_its_model_does(machine: type[ProcessMachine], tmp_path: Path) -> None:
    numbers = count()
    factory: Any = lambda: machine(tmp_path / str(next(numbers)))  # noqa: E731 - Any, since hypothesis names a type
    run_state_machine_as_test(
        factory,
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # to shrink what hangs takes hours
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
def test_a_pool_that_grows_runs_what_a_process_has_given_back(make: Callable[..., ProcessPool], tmp_path: Path) -> None:
    """The machine found it: what came behind a long call in a frame waited for its end, beside an empty place."""
    pool = make(1)
    wait([pool.submit(int) for _ in range(WARMING)], PATIENCE)
    pool.pause()
    long = pool.submit(FarCall(0, 0, tmp_path))
    behind = pool.submit(int)
    pool.resume()
    until(lambda: effects(tmp_path / LOG) and not behind.running(), "the call behind is given back")

    pool.resize(2)

    try:
        assert not wait([behind], PATIENCE / 5).not_done
    finally:
        Gate(tmp_path / "0").set()
    assert long.result(PATIENCE) == 0
