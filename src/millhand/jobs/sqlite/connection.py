"""Connections to one SQLite file: how each is opened, and the few that reading threads share."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from millhand.core.clock import Seconds
from millhand.core.errors import StoreError
from millhand.jobs.sqlite.statements import migrations
from millhand.jobs.sqlite.turn import Turn, turn_path

OLDEST_SQLITE = (3, 38, 0)  # the first with ->>, which every set statement uses
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "afs"})
BUSY_TIMEOUT: Seconds = 30.0
"""How long a write waits for a program that is not millhand (ours take turns by a file, see `turn`)."""


def open_connection(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open the file for one thread at a time, with what the guarantees need switched on.

    `durable`: every commit is synced to disk before it returns (synchronous=FULL).

    Raises:
        StoreError: when the file cannot be opened, or lies where SQLite's locks do not work.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"SQLite {wanted} or newer is needed, this Python has {sqlite3.sqlite_version}")
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise StoreError(f"cannot open the database {path}: {error}") from error
    return connection


def refuse_network_file_system(path: Path) -> None:
    """Raise StoreError if the file would lie on a network file system: SQLite's locks do not hold there."""
    kind = _file_system_of(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(f"{path} is on a network file system ({kind}), where SQLite loses data; use a local disk")


def _file_system_of(path: Path) -> str:
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    fields = [[_unescape(field) for field in line.split()] for line in mounts.read_text().splitlines()]
    folder = path.resolve().parent
    above = [(mount, kind) for _, mount, kind, *_ in fields if folder.is_relative_to(mount)]
    # The deepest mount above the file; of several on one folder the last, which hides the others.
    return max(reversed(above), key=lambda found: len(found[0]), default=("", "unknown"))[1]


def _unescape(field: str) -> str:
    """Undo the kernel's way to write a space, tab, newline or backslash in the table of mounts."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def prepare(path: Path) -> None:
    """Make the file if it is missing, and bring its schema up to date.

    Under the turn of the writers: where several processes open a new file at once, SQLite refuses to switch
    to WAL with "database is locked", without waiting.

    Raises:
        StoreError: when the file cannot be opened, or belongs to another program.
    """
    try:
        turn = Turn(turn_path(path))
    except OSError as error:
        raise StoreError(f"cannot open the database {path}: {error}") from error
    with closing(turn), turn, closing(open_connection(path)) as connection:
        migrate(connection)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date; `PRAGMA user_version` holds the number of the last step made.

    Each step is one transaction, and the version is read again inside it: two processes may start at once.

    Raises:
        StoreError: when another program has tables of these names in the file; they are left alone.
    """
    steps = list(migrations())
    [found] = connection.execute("PRAGMA user_version").fetchone()
    newest, _ = steps[-1]
    if found > newest:
        raise StoreError(f"the database is of version {found}, this millhand knows {newest}; install a newer one")
    for number, script in steps:
        connection.execute("BEGIN IMMEDIATE")
        try:
            [version] = connection.execute("PRAGMA user_version").fetchone()
            if version < number:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException as error:
            connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"the database cannot be set up: {error}; use a file of its own") from error
            raise


def _statements(script: str) -> Iterator[str]:
    """Split a script; `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


class Readers:
    """A few reading connections, opened when wanted and shared by all threads.

    In WAL mode a reader sees the last commit before it began, and neither waits nor makes anybody wait.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for the length of a `with` block.

        Raises:
            StoreError: when the database cannot be read.
        """
        try:
            connection = self._idle.get_nowait()
        except Empty:
            if self._closed:
                raise StoreError("the store is closed") from None
            connection = open_connection(self._path)
        try:
            yield connection
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {self._path}: {error}") from error
        finally:
            if self._closed:
                connection.close()
            else:
                self._idle.put(connection)

    def close(self) -> None:
        """Close the idle connections; those that are lent are closed when they come back."""
        self._closed = True
        while not self._idle.empty():
            self._idle.get_nowait().close()
