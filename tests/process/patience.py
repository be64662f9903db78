"""How a test waits for what happens in another process: by looking again and again, up to a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 10.0


def until(holds: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Return when something holds; fail if it does not in time."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.002)


def is_there(pid: int) -> bool:
    """Whether a process exists and is more than an entry in the table of one whose parent has not looked yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def until_gone(*pids: int) -> None:
    """Return when none of these processes is there any more."""
    until(lambda: not any(map(is_there, pids)), f"processes {pids} are gone")


def told(path: Path) -> list[int]:
    """Return the numbers that a call has written to a file with `calls.tell`, once they are there."""
    until(path.exists, f"somebody has written {path.name}")
    return [int(word) for word in path.read_text().split()]


def effects(path: Path) -> list[str]:
    """Return what calls have noted with `calls.note`, in its order."""
    return path.read_text().split() if path.exists() else []


def open_files() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as in tests/conftest.py
