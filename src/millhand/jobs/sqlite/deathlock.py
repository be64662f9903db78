"""How a runner's death is seen at once: a file lock that the system drops when the process that holds it ends.

A released lock may shorten a lease, a held one never lengthens it: a process that hangs still loses its jobs
when its lease runs out, and on a system without such locks everything works, only slower.

Shutdown: `release` unlinks the file first and unlocks it after, so that nobody finds a free lock of a runner
that retired in order.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from millhand.core.errors import StoreError


class DeathLocks:
    """The lock files of one database: `<database>-runner-<id>` each."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held: dict[str, int] = {}

    def hold(self, runner: str) -> None:
        """Take the runner's lock, before its row is inserted: a row without a held lock is a dead runner's."""
        held = self._held.get(runner)
        if held is not None and self._is_file_of(runner, held):
            return
        try:
            file = os.open(self._path(runner), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"the lock of a runner cannot be made: {error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise StoreError(f"runner id {runner} is in use by another process; ids are random for a reason") from error
        if held is not None:  # somebody took it for dead and removed its file; only now, so that it is never without
            os.close(held)
        self._held[runner] = file

    def release(self, runner: str) -> None:
        """Drop the lock of a runner that retired, with its file."""
        file = self._held.pop(runner, None)
        if file is not None:
            self._path(runner).unlink(missing_ok=True)
            os.close(file)

    def dead_among(self, runners: Iterable[str]) -> list[str]:
        """Return those of these runners whose lock nobody holds. Their files stay until `bury`."""
        return [runner for runner in runners if runner not in self._held and self._is_free(runner)]

    def bury(self, runner: str) -> None:
        """Remove the file of a runner whose jobs have been rescued."""
        if runner not in self._held and self._is_free(runner):  # it may have announced itself again meanwhile
            self._path(runner).unlink(missing_ok=True)

    def close(self) -> None:
        """Drop every lock of this process."""
        for runner in list(self._held):
            self.release(runner)

    def _path(self, runner: str) -> Path:
        return self._database.with_name(f"{self._database.name}-runner-{runner}")

    def _is_file_of(self, runner: str, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path(runner).stat())
        except FileNotFoundError:
            return False

    def _is_free(self, runner: str) -> bool:
        try:
            file = os.open(self._path(runner), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # retired while we looked, or never locked: only its lease can tell
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True
