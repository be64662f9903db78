from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator

import pytest

from millhand.core.clock import Clock
from millhand.pool.timers import NEVER, Timers


class StoppedClock:
    """A clock that stands still, so that the timers' own thread finds nothing due; tests step with a later time."""

    def now(self) -> float:
        return 1000.0

    monotonic = now

    def after(self, seconds: float) -> float:
        return self.now() + seconds


class Something:
    """What can be referred to weakly."""


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def timers(clock: Clock) -> Iterator[Timers]:
    timers = Timers(clock, "timers under test")
    yield timers
    timers.stop()
    timers.join()


def nothing() -> None:
    pass


def test_what_is_due_is_called_once_and_in_order(timers: Timers, clock: StoppedClock) -> None:
    calls: list[str] = []
    timers.add(300.0, lambda: calls.append("third"))
    timers.add(100.0, lambda: calls.append("first"))
    timers.add(200.0, lambda: calls.append("second"))

    due = timers.step(clock.after(250.0))
    timers.step(clock.after(250.0))

    assert calls == ["first", "second"]
    assert due == 1300.0


def test_nothing_is_called_before_its_time(timers: Timers, clock: StoppedClock) -> None:
    calls: list[int] = []
    timers.add(100.0, lambda: calls.append(1))

    due = timers.step(clock.after(99.0))

    assert calls == []
    assert due == 1100.0


def test_without_alarms_the_next_is_never(timers: Timers) -> None:
    assert timers.step(0.0) == NEVER


def test_what_was_called_off_does_not_ring(timers: Timers, clock: StoppedClock) -> None:
    calls: list[int] = []
    alarm = timers.add(100.0, lambda: calls.append(1))

    timers.call_off(alarm)
    timers.call_off(alarm)
    timers.step(clock.after(200.0))

    assert calls == []
    assert len(timers) == 0


def test_calling_off_after_the_ring_changes_nothing(timers: Timers, clock: StoppedClock) -> None:
    alarm = timers.add(100.0, nothing)
    timers.step(clock.after(200.0))

    timers.call_off(alarm)

    assert len(timers) == 0


def test_an_alarm_that_was_called_off_keeps_nothing_alive(timers: Timers) -> None:
    thing = Something()
    gone = weakref.ref(thing)
    alarm = timers.add(100.0, lambda thing=thing: None)  # type: ignore[misc]  # a default keeps it alive
    del thing

    timers.call_off(alarm)
    gc.collect()

    assert gone() is None


def test_long_timeouts_that_are_called_off_do_not_pile_up(timers: Timers, clock: StoppedClock) -> None:
    kept = [timers.add(3600.0, nothing) for _ in range(10)]

    for _ in range(10_000):
        timers.call_off(timers.add(3600.0, nothing))

    assert len(timers) <= 2 * len(kept) + 128
    timers.step(clock.after(3600.0))
    assert len(timers) == 0


def test_an_action_that_fails_does_not_silence_the_others(
    timers: Timers, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    timers.add(1.0, lambda: 1 / 0)  # type: ignore[arg-type, return-value]  # it returns nothing
    timers.add(2.0, lambda: calls.append(1))

    with caplog.at_level(logging.ERROR):
        timers.step(clock.after(3600.0))

    assert calls == [1]
    assert "action failed" in caplog.text


def test_the_thread_starts_with_the_first_alarm_and_rings_it(timers: Timers) -> None:
    rung = threading.Event()
    assert "timers under test" not in {thread.name for thread in threading.enumerate()}

    timers.add(3600.0, nothing)
    timers.add(0.0, rung.set)

    assert rung.wait(5)
    assert "timers under test" in {thread.name for thread in threading.enumerate()}


def test_stop_drops_all_alarms_and_ends_the_thread(timers: Timers, clock: StoppedClock) -> None:
    calls: list[int] = []
    timers.add(10.0, lambda: calls.append(1))

    timers.stop()
    timers.stop()
    timers.join()
    timers.step(clock.after(3600.0))

    assert calls == []
    assert "timers under test" not in {thread.name for thread in threading.enumerate()}


def test_joining_without_a_thread_returns(timers: Timers) -> None:
    timers.join()
