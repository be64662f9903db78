"""What tests of any store share: jobs to put in, and an independent count of what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from millhand.core import ClaimedJob, ErrorInfo, Job, JobState, NewJob
from millhand.jobs.ids import new_id
from millhand.jobs.store import Claim, Ending, Store

T0 = 1_700_000_000.0
"""When these histories begin. Tests pass time as an argument, so nothing here has to wait."""

FOR_EVER = 1e12

BOOM = ErrorInfo("ValueError", "boom", "Traceback: boom")


def draft(type: str = "mail", **fields: Any) -> NewJob:
    """Return a job to enqueue; ids grow from call to call."""
    return NewJob(**{"id": new_id(), "type": type, "payload": "{}"} | fields)


def put(store: Store, *jobs: NewJob, now: float = T0) -> list[str]:
    """Enqueue jobs (one plain job if none is given); return their ids."""
    drafts = jobs or (draft(),)
    assert store.intake.enqueue(drafts, now=now) == [None] * len(drafts)
    return [job.id for job in drafts]


def claim(
    store: Store, runner: str = "r1", *, room: int = 10, types: Collection[str] = ("*",), now: float = T0
) -> Claim:
    """Claim for a runner, which is announced (for ever) if the store does not know it."""
    if runner not in [row.id for row in store.reading.runners()]:
        announce(store, runner, lease=FOR_EVER, now=now)
    return store.claims.claim(runner, room=room, types=types, now=now)


def take(store: Store, runner: str = "r1", **options: Any) -> list[ClaimedJob]:
    """Claim, and return only the jobs."""
    return claim(store, runner, **options).jobs


def take_one(store: Store, runner: str = "r1", **options: Any) -> ClaimedJob:
    [job] = take(store, runner, **options)
    return job


def done(job: ClaimedJob, result: str = "1") -> Ending:
    return Ending(job.id, job.token, JobState.COMPLETED, result=result)


def failed(job: ClaimedJob) -> Ending:
    return Ending(job.id, job.token, JobState.FAILED, error=BOOM)


def again(job: ClaimedJob, delay: float = 0.0, **fields: Any) -> Ending:
    return Ending(job.id, job.token, JobState.SCHEDULED, error=BOOM, delay=delay, **fields)


def held(*jobs: ClaimedJob) -> list[tuple[str, int]]:
    return [(job.id, job.token) for job in jobs]


def announce(store: Store, *runners: str, lease: float = 15.0, now: float = T0) -> None:
    for runner in runners:
        store.housekeeping.announce(runner, lease=lease, now=now)


def state_of(store: Store, id: str) -> JobState:
    return store.reading.get(id).state


def find_all(store: Store) -> list[Job]:
    """Read every job, page by page."""
    jobs: list[Job] = []
    cursor = None
    while True:
        page = store.reading.find(cursor=cursor, limit=500)
        jobs += page.jobs
        cursor = page.next_cursor
        if cursor is None:
            return jobs


def recount(store: Store) -> dict[JobState, int]:
    """Count the jobs in each state by looking at every one of them."""
    found = Counter(job.state for job in find_all(store))
    return {state: found[state] for state in JobState}


def assert_counts_add_up(store: Store) -> None:
    assert dict(store.reading.counts()) == recount(store)
