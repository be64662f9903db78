"""Kills worker processes that take more memory than they may."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from millhand.core.clock import Seconds
from millhand.pool.process.worker_process import WorkerProcess
from millhand.pool.task import monotonic
from millhand.pool.timers import Timers

LOOK: Seconds = 0.05
"""How often it looks."""

PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """This looks at the memory of a pool's processes.

    Args:
        limit: how many bytes of it one may have resident.
        processes: returns them.
        timers: what calls this again.
    """

    def __init__(self, limit: int, processes: Callable[[], Iterable[WorkerProcess]], timers: Timers) -> None:
        self._limit, self._processes, self._timers = limit, processes, timers
        self.runs = False

    def start(self) -> None:
        """Look, and again every LOOK until the timers stop."""
        self.runs = True
        for process in self._processes():
            size = resident(process.pid)
            if size > self._limit:
                taken, allowed = size / 2**20, self._limit / 2**20
                process.kill_for(
                    f"was killed: it had {taken:.0f} MiB of memory, more than its limit of {allowed:.0f} MiB"
                )
        self._timers.at(monotonic() + LOOK, self.start)


def resident(pid: int) -> int:
    """Return how many bytes of memory a process has resident; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def check_limit(limit: object) -> None:
    """Raise ValueError unless it is a number of bytes, or None."""
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"memory_limit must be a number of bytes, or None, got {limit!r}")
    if not Path("/proc/self/statm").exists():
        raise ValueError("memory_limit needs /proc, which this system has not")
