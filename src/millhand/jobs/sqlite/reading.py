"""Looking: one job, many jobs, pages, counts; on connections that never wait for the writer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from millhand.core.errors import JobNotFound, StoreError
from millhand.core.job import Job, JobState
from millhand.jobs.sqlite.connection import Readers, open_connection
from millhand.jobs.sqlite.statements import SQL
from millhand.jobs.sqlite.writer import to_json
from millhand.jobs.store import Page, RunnerRow

_jobs = msgspec.json.Decoder(list[Job])
_ids = msgspec.json.Decoder(list[str])


class SqliteReading:
    """`Reading` on SQLite."""

    def __init__(self, path: Path, readers: Readers) -> None:
        self._readers = readers
        # A connection of its own, since data_version tells what others changed since *this* one looked.
        self._sentinel = open_connection(path)
        self._looking = threading.Lock()  # closing a connection under somebody's statement crashes the process

    def get(self, id: str) -> Job:
        """See `Reading.get`."""
        found = self.get_many([id])
        if not found:
            raise JobNotFound(id)
        return found[0]

    def get_many(self, ids: Collection[str]) -> list[Job]:
        """See `Reading.get_many`."""
        [(text,)] = self._rows("get", ids=to_json(list(ids)))
        return _jobs.decode(text)

    def find(
        self, *, state: JobState | None = None, type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """See `Reading.find`."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        [(text,)] = self._rows("find", state=state, type=type, cursor=cursor, limit=limit + 1)
        ids = _ids.decode(text)
        page = ids[:limit]
        jobs = sorted(self.get_many(page), key=lambda job: job.id, reverse=True)
        return Page(jobs, page[-1] if len(ids) > limit else None)

    def counts(self) -> Mapping[JobState, int]:
        """See `Reading.counts`."""
        found = dict(self._rows("counts"))
        return {state: found.get(state.value, 0) for state in JobState}

    def totals(self) -> Mapping[str, int]:
        """See `Reading.totals`."""
        return dict(self._rows("totals"))

    def types(self) -> list[str]:
        """See `Reading.types`."""
        return [name for [name] in self._rows("types")]

    def runners(self) -> list[RunnerRow]:
        """See `Reading.runners`."""
        return [RunnerRow(*row) for row in self._rows("runners")]

    def changed(self) -> int:
        """See `Reading.changed`."""
        try:
            with self._looking:
                [[version]] = self._sentinel.execute("PRAGMA data_version").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the store is closed, or cannot be read: {error}") from error
        return int(version)

    def arrivals(self) -> int:
        """See `Reading.arrivals`."""
        [(n,)] = self._rows("arrivals")
        return int(n)

    def close(self) -> None:
        """Close the connection of its own."""
        with self._looking:
            self._sentinel.close()

    def _rows(self, statement: str, **values: Any) -> list[Any]:
        with self._readers.borrow() as connection:
            return connection.execute(SQL[statement], values).fetchall()
