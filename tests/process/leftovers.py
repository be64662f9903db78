"""What a test of processes may leave behind, and what finds it: processes, open files, names in shared memory.

Threads are looked after for all tests, in tests/conftest.py.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.process.patience import PATIENCE, until

MARK = "MILLHAND_TESTS_OF"
SHARED = Path("/dev/shm")
LASTING = (b"multiprocessing.forkserver", b"multiprocessing.resource_tracker")
OWN_FILES = ("/proc/", "/dev/pts/", "/tmp/tmp")  # the listing itself, a terminal, what pytest captures


class Census:
    """This is what there was of this program at one time."""

    def __init__(self) -> None:
        os.environ[MARK] = str(os.getpid())  # children that become another program are known by it, also as orphans
        self._processes, self._files, self._shared = _processes(), _files(), _shared()

    def assert_nothing_new(self) -> None:
        """Fail if anything is there that was not, and does not go by itself."""
        with suppress(AssertionError):
            until(lambda: not self._new(), "all is as it was", PATIENCE / 2)
        new = self._new()
        assert not new, f"this test left: {', '.join(new)}"

    def _new(self) -> list[str]:
        files = _files() - self._files
        if files:
            gc.collect()  # what only a circle keeps open
            files = _files() - self._files
        processes = [f"process {pid} ({name})" for pid, name in _processes().items() if pid not in self._processes]
        return processes + [f"open {name}" for name in files.elements()] + sorted(_shared() - self._shared)


def _processes() -> dict[int, str]:
    """Return the processes of this program but itself, multiprocessing's own, and what is dead and not our child."""
    table = {pid: entry for pid in _pids() if (entry := _entry(pid))}
    me, mark = os.getpid(), f"{MARK}={os.getpid()}".encode()
    ours = {me}
    while more := {pid for pid, (_, _, parent) in table.items() if parent in ours} - ours:
        ours |= more
    found: dict[int, str] = {}
    for pid, (name, state, parent) in table.items():
        if pid == me or (state == "Z" and parent != me):
            continue
        lasts = parent == me and any(program in _read(pid, "cmdline") for program in LASTING)
        if not lasts and (pid in ours or mark in _read(pid, "environ").split(b"\0")):
            found[pid] = f"{name}, {state}"
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _entry(pid: int) -> tuple[str, str, int] | None:
    """Return a process's name, state and parent; None if it is gone."""
    head, _, rest = _read(pid, "stat").decode(errors="replace").rpartition(")")
    fields = rest.split()
    return (head.partition("(")[2], fields[0], int(fields[1])) if fields else None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # gone, or somebody else's
        return b""


def _files() -> Counter[str]:
    """Return what this process has open: each by its name, sockets and pipes by their kind."""
    found: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib opens it, and would list that, too
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as above
            if not target.startswith(OWN_FILES):
                found[target.partition(":")[0]] += 1
    return found


def _shared() -> set[str]:
    with suppress(OSError):
        return {str(entry) for entry in SHARED.iterdir()}
    return set()
