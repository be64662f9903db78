"""Cancel: what people may change about a job."""

from __future__ import annotations

from millhand.core.clock import Instant
from millhand.core.errors import JobNotFound
from millhand.core.job import Job, JobState
from millhand.jobs.sqlite.writer import Group, Writer
from millhand.jobs.store import Reading


class SqliteControl:
    """`Control` on SQLite."""

    def __init__(self, writer: Writer, reading: Reading) -> None:
        self._writer, self._reading = writer, reading

    def cancel(self, id: str, *, now: Instant | None = None) -> Job:
        """See `Control.cancel`."""
        self._writer.run(lambda group: _cancel(group, id, group.now(now)))
        return self._reading.get(id)


def _cancel(group: Group, id: str, now: Instant) -> None:
    found = group.rows("state_of", id=id)
    if not found:
        raise JobNotFound(id)
    [(queue, state)] = found
    if group.run("cancel_waiting", id=id, now=now):
        group.moved(queue, JobState(state), JobState.CANCELLED)
        group.ended.append(id)
    else:
        group.run("request_cancel", id=id)
