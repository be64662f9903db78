"""What holds a pool still for as long as a test wants, and what says whether it has lost anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from millhand import PoolStats

SOUND = 0.03
"""How long a thread sleeps that waits for more than its turn at the GIL, in seconds."""


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


def press_ctrl_c() -> None:
    """Interrupt the main thread when it sleeps.

    Python does not notice a signal that comes just before, until something else wakes the thread.
    """
    main, pause, before = threading.main_thread(), threading.Event(), ""
    while not before or before != _sleep_of(main):
        before = _sleep_of(main)
        pause.wait(SOUND)
    signal.pthread_kill(main.ident or 0, signal.SIGINT)


def _sleep_of(thread: threading.Thread) -> str:
    """Return which sleep of a thread this is; nothing if it is awake, and always the same where there is no /proc."""
    status = Path(f"/proc/self/task/{thread.native_id}/status")
    if not status.exists():
        return "one"
    lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
    return lines["voluntary_ctxt_switches"] if lines["State"].startswith("S") else ""
