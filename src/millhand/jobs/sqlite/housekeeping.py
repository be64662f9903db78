"""Runners come and go, types are declared, the store is closed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Sequence

from millhand.core.clock import Instant, Seconds
from millhand.jobs.sqlite.claims import release_unknown
from millhand.jobs.sqlite.deathlock import DeathLocks
from millhand.jobs.sqlite.writer import Group, Writer, to_json


class SqliteHousekeeping:
    """`Housekeeping` on SQLite. `close` is the store's own."""

    def __init__(self, writer: Writer, locks: DeathLocks, close: Callable[[], None]) -> None:
        self._writer, self._locks = writer, locks
        self.close = close

    def announce(self, runner: str, *, lease: Seconds, now: Instant | None = None) -> None:
        """See `Housekeeping.announce`."""
        self._locks.hold(runner)
        values = {"runner": runner, "host": socket.gethostname(), "pid": os.getpid(), "lease": lease}
        try:
            self._writer.run(lambda group: group.run("announce", now=group.now(now), **values))
        except BaseException:
            self._locks.release(runner)
            raise

    def retire(self, runner: str, *, now: Instant | None = None) -> None:
        """See `Housekeeping.retire`."""

        def retire(group: Group) -> None:
            release_unknown(group, runner, held=())
            group.run("forget_runner", runner=runner)

        self._writer.run(retire)
        self._locks.release(runner)

    def declare_types(self, types: Collection[str]) -> None:
        """See `Housekeeping.declare_types`."""
        self._writer.run(lambda group: group.run("declare_types", types=to_json(sorted(types))))

    def on_commit(self, listener: Callable[[bool, Sequence[str]], None]) -> Callable[[], None]:
        """See `Housekeeping.on_commit`."""
        return self._writer.on_commit(listener)
