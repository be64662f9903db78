"""One SQLite file as a store: its five parts and what they share."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from millhand.jobs.sqlite.claims import SqliteClaims
from millhand.jobs.sqlite.connection import Readers, prepare, refuse_network_file_system
from millhand.jobs.sqlite.control import SqliteControl
from millhand.jobs.sqlite.deathlock import DeathLocks
from millhand.jobs.sqlite.housekeeping import SqliteHousekeeping
from millhand.jobs.sqlite.intake import SqliteIntake
from millhand.jobs.sqlite.reading import SqliteReading
from millhand.jobs.sqlite.writer import Writer


class SqliteStore:
    """Jobs in one SQLite file, shared by any number of threads and processes of one machine.

    Args:
        path: the database file, made if missing; None: a private temporary file without syncing, removed on close.
        threaded: False runs every change in the caller's thread (see `Writer`).

    Raises:
        StoreError: when the file cannot be opened, or lies on a network file system.
    """

    def __init__(self, path: Path | None, *, threaded: bool = True) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="millhand-")) if path is None else None
        self.path = path or Path(str(self._temporary)) / "jobs.db"
        refuse_network_file_system(self.path)
        prepare(self.path)
        self._readers = Readers(self.path)
        self._locks = DeathLocks(self.path)
        self._writer = Writer(self.path, durable=path is not None, threaded=threaded)
        self._closed = False
        self.reading = SqliteReading(self.path, self._readers)
        self.intake = SqliteIntake(self._writer)
        self.claims = SqliteClaims(self._writer, self._readers, self._locks)
        self.control = SqliteControl(self._writer, self.reading)
        self.housekeeping = SqliteHousekeeping(self._writer, self._locks, self._close)

    def _close(self) -> None:
        self._writer.close()
        if self._closed:
            return
        self._closed = True
        self.reading.close()
        self._readers.close()
        self._locks.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
