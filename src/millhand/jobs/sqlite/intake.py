"""Enqueue: jobs come in, many in one statement, bounded if asked, repeatable by id."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millhand.core.clock import Instant
from millhand.core.errors import QueueFull
from millhand.core.job import JobState, NewJob
from millhand.jobs.sqlite.writer import Group, Writer, to_json
from millhand.policy.rank import DEFAULT_AGEING

REMEDY = "wait until some have run, or raise QUEUE_SIZE"


class SqliteIntake:
    """`Intake` on SQLite."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def enqueue(
        self, jobs: Sequence[NewJob], *, limit: int | None = None, now: Instant | None = None
    ) -> list[QueueFull | None]:
        """See `Intake.enqueue`."""
        return self._writer.run(lambda group: _enqueue(group, jobs, limit, now))


def _enqueue(group: Group, jobs: Sequence[NewJob], limit: int | None, now: Instant | None) -> list[QueueFull | None]:
    if limit is not None:
        group.write_counts()
        waiting = group.read("waiting")
        room = max(0, limit - waiting)
        if room < len(jobs):
            return _enqueue_some(group, jobs, room, QueueFull(waiting + room, limit, REMEDY), now)
    if jobs:
        _insert(group, jobs, group.now(now))
    return [None] * len(jobs)


def _enqueue_some(
    group: Group, jobs: Sequence[NewJob], room: int, refusal: QueueFull, now: Instant | None
) -> list[QueueFull | None]:
    known = set(msgspec.json.decode(group.read("known", ids=to_json([job.id for job in jobs]))))
    admitted: dict[str, NewJob] = {}
    for job in jobs:
        if len(admitted) < room and job.id not in known:
            admitted[job.id] = job
    if admitted:
        _insert(group, list(admitted.values()), group.now(now))
    return [None if job.id in known or job.id in admitted else refusal for job in jobs]


def _insert(group: Group, jobs: Sequence[NewJob], now: Instant) -> None:
    before = group.read("last_row")
    group.run("enqueue", jobs=to_json(jobs), now=now, ageing=DEFAULT_AGEING)
    added = msgspec.json.decode(group.read("enqueued", before=before))
    for queue, state, n in added:
        group.moved(queue, None, JobState(state), n)
    # Also for scheduled jobs: whoever sleeps until the next due time must learn that there is an earlier one.
    group.arrived = group.arrived or bool(added)
