"""The one writer: every change of every thread goes through it, and those that come together share a commit.

Guarantees:
    A request is answered after the COMMIT that holds it returned, never before.
    A request that fails changes nothing, and hurts no other request of its group.

Locks:
    None of its own. `Turn` is held between processes for the length of one group; user code never runs under it.

Shutdown:
    1. `close` puts the end mark behind everything asked so far. 2. The thread writes what stands before
    it. 3. It closes the connection and ends. Whoever asks afterwards gets StoreError.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import msgspec

from millhand.core.clock import Instant
from millhand.core.errors import MillhandError, StoreError
from millhand.core.job import JobState
from millhand.jobs.sqlite.connection import open_connection
from millhand.jobs.sqlite.statements import SQL
from millhand.jobs.sqlite.turn import Turn, turn_path

log = logging.getLogger("millhand")

Answer = TypeVar("Answer")
CommitListener = Callable[[bool, Sequence[str]], None]

GROUP_LIMIT = 500
"""Requests in one commit; a request is itself a batch, so this bounds waiting, not throughput."""


class Group:
    """One transaction as its requests see it: statements, and a note of what they changed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counts: Counter[tuple[str, str]] = Counter()
        self._totals: Counter[str] = Counter()
        self._now: Instant | None = None
        self.arrived = False
        self.ended: list[str] = []

    def now(self, given: Instant | None) -> Instant:
        """Return the instant a test gave, or the database's own, read once per group."""
        if given is not None:
            return given
        if self._now is None:
            [[self._now]] = self._connection.execute(SQL["now"], {"now": None}).fetchall()
        return self._now

    def run(self, statement: str, **values: Any) -> int:
        """Execute a statement by name; return how many rows it changed."""
        return self._connection.execute(SQL[statement], values).rowcount

    def read(self, statement: str, **values: Any) -> Any:
        """Execute a statement by name; return the one value of its one row."""
        [[value]] = self._connection.execute(SQL[statement], values).fetchall()
        return value

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Execute a statement by name; return its rows."""
        return self._connection.execute(SQL[statement], values).fetchall()

    def moved(self, queue: str, before: JobState | None, after: JobState, n: int = 1) -> None:
        """Note that `n` jobs of this queue went from one state (None: they are new) to another."""
        if before is not None:
            self._counts[queue, before] -= n
        self._counts[queue, after] += n

    def raise_total(self, name: str, n: int = 1) -> None:
        """Note that a counter grew."""
        self._totals[name] += n

    def write_counts(self) -> None:
        """Write the counts noted so far, so that the next statement sees them."""
        changes = [(queue, state, n) for (queue, state), n in self._counts.items() if n]
        self._counts.clear()
        if changes:
            self.run("count", changes=to_json(changes))

    def write_notes(self) -> None:
        """Write all that was noted, as the last statements of the transaction."""
        self.write_counts()
        if self.arrived:
            self._totals["arrivals"] += 1
        if self._totals:
            self.run("total", changes=to_json(self._totals))


def to_json(value: Any) -> str:
    """Write a set of rows as the JSON that a set statement unfolds."""
    return msgspec.json.encode(value).decode()


class _Request:
    __slots__ = ("answer", "operation")

    def __init__(self, operation: Callable[[Group], Any]) -> None:
        self.operation = operation
        self.answer: Future[Any] = Future()


class Writer:
    """The thread that owns the only writing connection of this process.

    Args:
        path: the database file.
        durable: sync every commit to disk.
        threaded: False runs each request in the caller's own thread, one commit each: for the simulator,
            which must decide itself who runs when.
    """

    def __init__(self, path: Path, *, durable: bool = True, threaded: bool = True) -> None:
        self._connection = open_connection(path, durable=durable)
        self._turn = Turn(turn_path(path))
        self._listeners: list[CommitListener] = []
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = None
        if threaded:
            self._thread = threading.Thread(target=self._write, name=f"millhand-writer {path.name}", daemon=True)
            self._thread.start()

    def run(self, operation: Callable[[Group], Answer]) -> Answer:
        """Run an operation inside a transaction, wait for its commit, return what it returned.

        The operation may be run twice (alone, after its group failed), so it must only touch the group.

        Raises:
            StoreError: when the database refused; nothing was changed.
            MillhandError: whatever the operation raised; nothing was changed.
        """
        request = _Request(operation)
        with self._closing:  # so that nothing is put behind the end mark
            if self._closed:
                raise StoreError("the store is closed")
            if self._thread is not None:
                self._requests.put(request)
        if self._thread is None:
            self._write_group([request])
        answer: Answer = request.answer.result()
        return answer

    def on_commit(self, listener: CommitListener) -> Callable[[], None]:
        """See `Housekeeping.on_commit`."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        """Write what was asked for, then close. Idempotent."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._requests.put(None)
        if self._thread is None:
            self._close_connection()
        else:
            self._thread.join()

    def _write(self) -> None:
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._next_group()
            if group:
                self._write_group(group)
            del group  # while it blocks, the thread must not keep the last requests alive
        self._close_connection()

    def _next_group(self) -> tuple[list[_Request], bool]:
        group: list[_Request] = []
        request = self._requests.get()
        while request is not None:
            group.append(request)
            if len(group) == GROUP_LIMIT:
                return group, True
            try:
                request = self._requests.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _write_group(self, requests: list[_Request]) -> None:
        try:
            answers, notes = self._transact(requests)
        except Exception as error:  # noqa: BLE001 - the edge: every request gets its answer, whatever happened
            if len(requests) == 1:
                requests[0].answer.set_exception(_as_ours(error))
            else:  # somebody's refusal must be nobody else's, so each is tried alone
                for request in requests:
                    self._write_group([request])
            return
        # Listeners first: a runner then claims while the submitters are still being told.
        for listener in tuple(self._listeners):
            try:
                listener(notes.arrived, notes.ended)
            except Exception:  # the edge: one listener's fault must not end the only writer
                log.exception("a commit listener failed")
        for request, answer in zip(requests, answers, strict=True):
            request.answer.set_result(answer)

    def _transact(self, requests: Sequence[_Request]) -> tuple[list[Any], Group]:
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                group = Group(self._connection)
                answers = [request.operation(group) for request in requests]
                group.write_notes()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        return answers, group

    def _close_connection(self) -> None:
        self._connection.close()
        self._turn.close()


def _as_ours(error: Exception) -> Exception:
    if isinstance(error, MillhandError):
        return error
    ours = StoreError(f"the database refused: {error}")
    ours.__cause__ = error
    return ours
