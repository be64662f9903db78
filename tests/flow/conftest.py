"""What several tests of shapes need."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from millhand import ThreadPool


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(4, thread_name_prefix="given") as pool:
        yield pool


class Hold:
    """A call that is held until it is let go, and says that it has begun."""

    def __init__(self) -> None:
        self.begun, self._go = threading.Semaphore(0), threading.Event()

    def __call__(self, value: object) -> object:
        self.begun.release()
        assert self._go.wait(10)
        return value

    def wait_for(self, calls: int) -> None:
        for _ in range(calls):
            assert self.begun.acquire(timeout=5)

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def hold() -> Iterator[Hold]:
    hold = Hold()
    yield hold
    hold.let_go()
