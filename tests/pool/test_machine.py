"""A pool beside a model of it, through whatever hypothesis thinks of: the same calls must run, in the same order."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from millhand import PoolClosed, QueueFull, ThreadPool
from tests.pool.gate import lost

PATIENCE = 5.0
PRIORITIES = st.integers(-2, 2)
PICK = st.integers(0, 1_000)


class Call:
    """One call: what the pool has of it, and what the model thinks of it."""

    def __init__(self, number: int, priority: int, began: Callable[[Call], None]) -> None:
        self.number, self.priority = number, priority
        self.release, self._began = threading.Event(), began
        self.cancelled = False
        self.runs = 0
        self.future: Any = None

    def __call__(self) -> int:
        self.runs += 1
        self._began(self)
        assert self.release.wait(PATIENCE)
        return self.number


class PoolMachine(RuleBasedStateMachine):
    """The model: what waits, in which order; what runs; how many may. After each step, both must have settled."""

    bound = 4
    patience = PATIENCE

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.waiting: list[Any] = []
        """In the queue, cancelled ones included: they keep their place until a worker comes by."""
        self.running: list[Any] = []
        self.refused, self.done, self.failed, self.stopped = 0, 0, 0, 0
        self.paused = self.closed = self.ordered = False
        self.changed = threading.Condition()
        self.begun: list[Call] = []
        self.pool: Any = None

    @initialize(size=st.integers(1, 3), ordered=st.booleans())
    def open(self, size: int, ordered: bool) -> None:
        self.pool = self.make_pool(size)
        self.size, self.ordered = size, ordered
        self.pool.with_options(priority=int(ordered)).submit(int).result()  # the first priority brings the order
        self.done = 1

    def make_pool(self, size: int) -> Any:
        """Return the pool; for another kind of it, a subclass has this and `make_call`."""
        # Strict priorities: with ageing, the model would have to know the time.
        return ThreadPool(size, queue_size=self.bound, when_full="reject", ageing=None)

    def make_call(self, number: int, priority: int) -> Any:
        """Return a call as `Call` is one."""
        return Call(number, priority, self._began)

    # What a user does.

    @rule(priority=PRIORITIES)
    def submit(self, priority: int) -> None:
        self._submit(priority)

    @rule(priority=PRIORITIES)
    def fill_the_queue(self, priority: int) -> None:
        while self._submit(priority):
            pass

    @precondition(lambda self: self.waiting)
    @rule(pick=PICK)
    def cancel_one_that_waits(self, pick: int) -> None:
        call = self.waiting[pick % len(self.waiting)]
        assert call.future.cancel()
        assert call.future.cancel()
        call.cancelled = True

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def fail_to_cancel_one_that_runs(self, pick: int) -> None:
        assert not self.running[pick % len(self.running)].future.cancel()

    @precondition(lambda self: self.calls and self.ordered)
    @rule(pick=PICK, priority=PRIORITIES)
    def set_a_priority(self, pick: int, priority: int) -> None:
        call = self.calls[pick % len(self.calls)]
        waits = call in self.waiting and not call.cancelled

        assert call.future.set_priority(priority) == waits
        if waits:
            call.priority = priority

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def release_one(self, pick: int) -> None:
        call = self.running.pop(pick % len(self.running))
        call.release.set()
        assert call.future.result(self.patience) == call.number
        self.done += 1
        self._settle()

    @precondition(lambda self: not self.closed)
    @rule(size=st.integers(1, 4))
    def resize(self, size: int) -> None:
        self.pool.resize(size)
        self.size = size
        self._settle()

    @rule()
    def pause(self) -> None:
        self.pool.pause()
        self.paused = not self.closed

    @rule()
    def resume(self) -> None:
        self.pool.resume()
        self.paused = False
        self._settle()

    @precondition(lambda self: len(self.calls) > 5)
    @rule(cancel=st.booleans())
    def shut_down(self, cancel: bool) -> None:
        self.pool.shutdown(wait=False, cancel_futures=cancel)
        self.closed, self.paused = True, False
        if cancel:
            for call in self.waiting:
                call.cancelled = True
            self._wait(lambda: all(call.future.done() for call in self.waiting))
            self.waiting.clear()
        self._settle()

    # What must hold.

    @invariant()
    def nothing_runs_twice_or_beyond_the_size(self) -> None:
        assert all(call.runs <= 1 for call in self.calls)
        assert not any(call.runs for call in self.calls if call.cancelled)

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        if self.pool is None:
            return
        stats = self.pool.stats()
        live = sum(not call.cancelled for call in self.waiting)
        cancelled = sum(call.cancelled for call in self.calls) + self.stopped
        counted = (stats.waiting, stats.running, stats.done, stats.failed, stats.cancelled, stats.refused, lost(stats))
        assert counted == (live, len(self.running), self.done, self.failed, cancelled, self.refused, 0)
        assert stats.waiting <= self.bound

    def teardown(self) -> None:
        if self.pool is None:
            return
        for call in self.calls:
            call.release.set()
        self.pool.shutdown()
        self.check_ends()
        stats = self.pool.stats()
        assert (lost(stats), stats.waiting, stats.running, stats.workers) == (0, 0, 0, 0)

    def check_ends(self) -> None:
        """Fail if a call has not ended as it had to."""
        ends = Counter("cancelled" if call.future.cancelled() else "done" for call in self.calls)
        assert all(call.future.done() for call in self.calls)
        assert all(call.runs == (not call.future.cancelled()) for call in self.calls)
        stats = self.pool.stats()
        assert (stats.done - 1, stats.cancelled) == (ends["done"], ends["cancelled"])

    # How.

    def _submit(self, priority: int) -> bool:
        """Submit; return whether the call was let in, which the model knows before."""
        priority *= self.ordered
        call = self.make_call(len(self.calls), priority)
        view = self.view(priority)
        if self.closed or len(self.waiting) >= self.bound:
            self.refused += 1
            with pytest.raises(PoolClosed if self.closed else QueueFull):
                view.submit(call)
            return False
        call.future = view.submit(call)
        self.calls.append(call)
        self.waiting.append(call)
        self._settle()
        return True

    def view(self, priority: int) -> Any:
        """Return where a call with this priority is submitted."""
        return self.pool.with_options(priority=priority)

    def _settle(self) -> None:
        """Start what the model says must start, and wait until the pool has started exactly that."""
        expected = []
        while not self.paused and len(self.running) < self.size and self.waiting:
            call = min(self.waiting, key=lambda call: (-call.priority, call.number))
            self.waiting.remove(call)
            if not call.cancelled:
                self.running.append(call)
                expected.append(call)
        self._wait(lambda: len(self.begun) >= len(expected))
        self._wait(self.has_passed_the_cancelled)
        with self.changed:
            begun, self.begun = self.begun, []
        assert {call.number for call in begun} == {call.number for call in expected}, (
            [call.number for call in begun],
            [call.number for call in expected],
        )

    def has_passed_the_cancelled(self) -> bool:
        """Return whether no more stand in the queue than in the model: that a worker has passed one, nobody is told."""
        return self.closed or self.pool._crew.line.waiting() == len(self.waiting)  # noqa: SLF001 - as above

    def _began(self, call: Call) -> None:
        with self.changed:
            self.begun.append(call)
            self.changed.notify_all()

    def _wait(self, reached: Callable[[], bool]) -> None:
        with self.changed:
            deadline = time.monotonic() + self.patience
            while not reached():
                left = deadline - time.monotonic()
                if left <= 0:
                    faulthandler.dump_traceback()
                    raise AssertionError(f"the pool hangs: {self.pool.stats()}")
                self.changed.wait(min(left, 0.01))  # an end that is no beginning notifies nobody


@pytest.mark.slow
def test_a_pool_does_what_its_model_does() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis has no types for it
        PoolMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
