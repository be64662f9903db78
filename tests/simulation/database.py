"""One real SQLite file for many histories, and the doors through which simulated processes use it.

A door is what a real process would have for itself: a writer, readers, death locks. It is the product's own
code throughout, without syncing, and stays open from one history to the next, since opening takes longer than
a whole history may.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.sqlite.claims import SqliteClaims
from millhand.jobs.sqlite.connection import Readers, open_connection
from millhand.jobs.sqlite.control import SqliteControl
from millhand.jobs.sqlite.deathlock import DeathLocks
from millhand.jobs.sqlite.housekeeping import SqliteHousekeeping
from millhand.jobs.sqlite.intake import SqliteIntake
from millhand.jobs.sqlite.reading import SqliteReading
from millhand.jobs.sqlite.writer import Group, Writer
from tests.auditor import Event, Kind

RECORD_MOVES = """
CREATE TABLE moves (id TEXT, before TEXT, state TEXT, token INTEGER);
CREATE TRIGGER record_birth AFTER INSERT ON jobs BEGIN
    INSERT INTO moves VALUES (new.id, '', new.state, new.token);
END;
CREATE TRIGGER record_move AFTER UPDATE OF state ON jobs BEGIN
    INSERT INTO moves VALUES (new.id, old.state, new.state, new.token);
END;
"""
"""The database's own witness: what happened to each row, whoever did it and whatever they believe they did."""

FORGET_ALL = (
    "DELETE FROM jobs",
    "DELETE FROM runners",
    "DELETE FROM types",
    "DELETE FROM counts",
    "UPDATE totals SET n = 0",
    "DELETE FROM moves",
)


class Database:
    """The file, its doors, and a connection for looking from outside."""

    def __init__(self, doors: int = 4) -> None:
        self._store = SqliteStore(None, threaded=False)
        self.path = self._store.path
        self._own = open_connection(self.path, durable=False)
        self._own.executescript(RECORD_MOVES)
        self._readers = Readers(self.path)
        self._doors = [Door(self.path, self._readers) for _ in range(doors)]
        self._free: list[Door] = []

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def forget_all(self) -> None:
        """Make it as good as new."""
        self._own.execute("BEGIN IMMEDIATE")
        for statement in FORGET_ALL:
            self._own.execute(statement)
        self._own.execute("COMMIT")
        self._free = list(reversed(self._doors))
        for door in self._doors:
            door.locks.vanish()
            door.locks.free_vanished()
        for file in self.path.parent.glob("*-runner-*"):
            file.unlink()

    def take_door(self) -> Door:
        """Return a door for a process that starts."""
        return self._free.pop()

    def give_back(self, door: Door) -> None:
        """Take back the door of a process that is no more."""
        self._free.append(door)

    def count_open(self) -> int:
        """Return how many jobs have not reached an end."""
        [[n]] = self._own.execute(
            "SELECT count(*) FROM jobs WHERE state IN ('pending', 'scheduled', 'processing')"
        ).fetchall()
        return int(n)

    def moves(self) -> Iterator[Event]:
        """Yield every change of every job's state, in order."""
        for id, before, state, token in self._own.execute("SELECT id, before, state, token FROM moves ORDER BY rowid"):
            yield Event(kind=Kind.MOVED, id=id, before=before, state=state, token=token)

    def close(self) -> None:
        """Close all, and remove the file."""
        for door in self._doors:
            door.close()
        self._readers.close()
        self._own.close()
        self._store.housekeeping.close()


class Door:
    """What one process has of the store. `writer.listener` is told of each write; a process sets it."""

    def __init__(self, path: Path, readers: Readers) -> None:
        self.writer = ObservedWriter(path)
        self.locks = MortalLocks(path)
        self.reading = SqliteReading(path, readers)
        self.intake = SqliteIntake(self.writer)
        self.claims = SqliteClaims(self.writer, readers, self.locks)
        self.control = SqliteControl(self.writer, self.reading)
        self.housekeeping = SqliteHousekeeping(self.writer, self.locks, self.close)

    def close(self) -> None:
        """Close its connections."""
        self.locks.vanish()
        self.locks.free_vanished()
        self.writer.close()
        self.reading.close()


class ObservedWriter(Writer):
    """The product's writer, which lets the simulation step in just before each transaction and just after."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, durable=False, threaded=False)
        self.before: Callable[[], None] = _nothing
        self.after: Callable[[Any], None] = _nothing

    def run(self, operation: Callable[[Group], Any]) -> Any:
        """See `Writer.run`."""
        before, after = self.before, self.after  # read now: what happens in `before` may write through here too
        before()
        answer = super().run(operation)
        after(answer)
        return answer


def _nothing(*unused: object) -> None:
    pass


class MortalLocks(DeathLocks):
    """Death locks of a process that can die: either the system frees them, or nobody can tell but by the lease."""

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self._vanished: list[int] = []

    def die(self) -> None:
        """Let go of every lock as the system does at the end of a process: the files stay."""
        self.vanish()
        self.free_vanished()

    def vanish(self) -> None:
        """Forget every lock without freeing it, as a machine does that is no longer heard of."""
        self._vanished += self._held.values()
        self._held.clear()

    def free_vanished(self) -> None:
        """Free what vanished."""
        for file in self._vanished:
            os.close(file)
        self._vanished.clear()
