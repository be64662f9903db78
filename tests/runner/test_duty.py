"""The one contract of everything a runner does, and the thread that keeps it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from millhand.runner.duty import Bell, DutyThread, Together
from tests.runner.fakes import ManualClock


class Stepped:
    """A duty that says when it was stepped and does as told."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers = list(answers)
        self.steps: list[float] = []
        self.stepped = threading.Semaphore(0)

    def step(self, now: float) -> float:
        self.steps.append(now)
        answer = self.answers.pop(0) if self.answers else math.inf
        self.stepped.release()
        if isinstance(answer, Exception):
            raise answer
        return answer


def drive(duty: Stepped, bell: Bell, check: Callable[[], None]) -> None:
    thread = DutyThread("test", duty, bell, ManualClock())
    thread.start()
    try:
        check()
    finally:
        thread.stop()


def test_a_thread_steps_at_once_and_then_when_its_bell_rings() -> None:
    duty, bell = Stepped(), Bell()

    def check() -> None:
        assert duty.stepped.acquire(timeout=10)
        bell.ring()
        assert duty.stepped.acquire(timeout=10)

    drive(duty, bell, check)

    assert duty.steps == [1_000.0, 1_000.0]


def test_a_thread_steps_again_when_it_is_due() -> None:
    duty = Stepped(0.0, 1_000.001)

    def check() -> None:
        for _ in range(3):
            assert duty.stepped.acquire(timeout=10)

    drive(duty, Bell(), check)


def test_a_duty_that_fails_is_tried_again_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    duty, bell = Stepped(RuntimeError("tripped")), Bell()

    def check() -> None:
        assert duty.stepped.acquire(timeout=10)
        bell.ring()
        assert duty.stepped.acquire(timeout=10)

    drive(duty, bell, check)

    assert "millhand-test failed" in caplog.text
    assert "tripped" in caplog.text


def test_stopping_ends_the_thread_and_is_idempotent() -> None:
    before = set(threading.enumerate())
    thread = DutyThread("test", Stepped(), Bell(), ManualClock())
    thread.start()
    [running] = set(threading.enumerate()) - before

    thread.stop()
    thread.stop()

    assert running.name == "millhand-test"
    assert not running.is_alive()


def test_stopping_what_never_started_is_no_fault() -> None:
    DutyThread("test", Stepped(), Bell(), ManualClock()).stop()


def test_duties_that_share_a_thread_are_all_stepped_and_the_earliest_is_due() -> None:
    first, second = Stepped(7.0), Stepped(5.0)

    assert Together(first, second).step(1.0) == 5.0
    assert (first.steps, second.steps) == ([1.0], [1.0])


def test_a_bell_that_rang_before_does_not_keep_anybody_waiting() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()

    bell.wait(math.inf)
    bell.clear()
    bell.wait(-1.0)
