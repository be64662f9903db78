"""A task that keeps a worker busy for as long as a test wants."""

from __future__ import annotations

import threading
from concurrent.futures import Executor


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
