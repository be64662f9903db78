"""What holds a pool still for as long as a test wants, and what says whether it has lost anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor

from millhand import PoolStats


class Gate:
    """Holds one worker until opened."""

    def __init__(self, executor: Executor) -> None:
        self.entered, self._open = threading.Event(), threading.Event()
        self.future = executor.submit(self._wait)
        assert self.entered.wait(5)

    def open(self) -> None:
        self._open.set()

    def _wait(self) -> None:
        self.entered.set()
        assert self._open.wait(10)


class Aside:
    """Makes a call in a thread of its own, and keeps what it returns or raises."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call, self._outcome = call, list[object]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def is_blocked(self) -> bool:
        """Whether the call is still under way after a time in which it would have returned."""
        self._thread.join(0.02)
        return self._thread.is_alive()

    def outcome(self) -> object:
        self._thread.join(5)
        assert not self._thread.is_alive(), "the call hangs"
        return self._outcome[0]

    def _run(self) -> None:
        try:
            self._outcome.append(self._call())
        except BaseException as error:
            self._outcome.append(error)


def lost(stats: PoolStats) -> int:
    """Return how many of the submitted calls a snapshot counts nowhere, or twice: 0 if the counts add up."""
    ended = stats.done + stats.failed + stats.cancelled + stats.timed_out + stats.dropped + stats.refused
    return stats.submitted - stats.waiting - stats.running - ended
