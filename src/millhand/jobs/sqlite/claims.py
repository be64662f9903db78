"""Claim, finish, release, renew, rescue: who may run a job, and whose word about it counts.

The fence: a claim raises the job's token and hands it out; a rescue raises it again. Everything a worker
brings back names the token, so a worker that lost the job can change nothing, however late it wakes.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from millhand.codec import is_pattern
from millhand.core.clock import Instant, Seconds
from millhand.core.errors import ErrorInfo, IllegalMove, StoreError
from millhand.core.job import MOVES, ClaimedJob, JobState
from millhand.jobs.sqlite.connection import Readers
from millhand.jobs.sqlite.deathlock import DeathLocks
from millhand.jobs.sqlite.statements import SQL
from millhand.jobs.sqlite.writer import Group, Writer, to_json
from millhand.jobs.store import Claim, Ending, Rescue
from millhand.policy.rank import DEFAULT_AGEING

MOVE_LIMIT = 1_000
"""Due jobs moved in per claim, so that a million due at once do not make one long transaction."""
MAX_DEATHS = 3
"""A suspect that was alone under suspicion when its runner died, this many times, is given up."""

_AFTER_PROCESSING = MOVES[JobState.PROCESSING] - {JobState.PENDING}
"""What an attempt may come to; to wait again goes by way of `scheduled`, or of a release."""

_claimed = msgspec.json.Decoder(list[ClaimedJob])
_plain = msgspec.json.Decoder()


class SqliteClaims:
    """`Claims` on SQLite; `locks` tell which runners died without a word."""

    def __init__(self, writer: Writer, readers: Readers, locks: DeathLocks) -> None:
        self._writer, self._readers, self._locks = writer, readers, locks

    def claim(self, runner: str, *, room: int, types: Collection[str], now: Instant | None = None) -> Claim:
        """See `Claims.claim`."""
        wanted = _Wanted(runner, room, *_split_types(tuple(types)))
        return self._writer.run(lambda group: _claim(group, wanted, group.now(now)))

    def finish(self, endings: Sequence[Ending], *, now: Instant | None = None) -> list[bool]:
        """See `Claims.finish`."""
        for ending in endings:
            if ending.state not in _AFTER_PROCESSING:
                raise IllegalMove(ending.id, JobState.PROCESSING, ending.state)
        return self._writer.run(lambda group: _finish(group, endings, group.now(now)))

    def release(self, held: Collection[tuple[str, int]], *, now: Instant | None = None) -> int:
        """See `Claims.release`."""
        return self._writer.run(lambda group: _release(group, group.read("releasable", held=to_json(set(held)))))

    def renew(self, runner: str, *, lease: Seconds, now: Instant | None = None) -> bool:
        """See `Claims.renew`."""
        return self._writer.run(lambda group: group.run("renew", runner=runner, lease=lease, now=group.now(now)) == 1)

    def reconcile(self, runner: str, *, held: Collection[tuple[str, int]], now: Instant | None = None) -> int:
        """See `Claims.reconcile`."""
        return self._writer.run(lambda group: release_unknown(group, runner, held))

    def rescue(
        self,
        *,
        dead: Collection[str] = (),
        expired: bool = True,
        judge: str | None = None,
        now: Instant | None = None,
    ) -> list[Rescue]:
        """See `Claims.rescue`."""
        # The rows first, the locks after: a runner takes its lock before its row, so a row whose lock is
        # free is a dead runner's. The other way round a runner that is just starting would look dead.
        with self._readers.borrow() as connection:
            known = [row[0] for row in connection.execute(SQL["runners"])]
        known_dead = {*dead, *self._locks.dead_among(known)}
        rescued = self._writer.run(
            lambda group: _rescue(group, known_dead, {"expired": expired, "judge": judge}, group.now(now))
        )
        # Only now, after the commit: a crash before it leaves the free lock for the next to find.
        for rescue in rescued:
            self._locks.bury(rescue.runner)
        return rescued

    def cancel_wishes(self, runner: str) -> list[str]:
        """See `Claims.cancel_wishes`."""
        with self._readers.borrow() as connection:
            return [id for [id] in connection.execute(SQL["cancel_wishes"], {"runner": runner})]


class _Wanted(msgspec.Struct, frozen=True):
    runner: str
    room: int
    names: str
    globs: str


@lru_cache(maxsize=64)
def _split_types(types: tuple[str, ...]) -> tuple[str, str]:
    globs = [name for name in types if is_pattern(name)]
    names = [name for name in types if name not in globs]
    return to_json(names), to_json([glob.replace("[!", "[^") for glob in globs])  # SQLite writes "not" otherwise


def _claim(group: Group, wanted: _Wanted, now: Instant) -> Claim:
    if not group.read("knows_runner", runner=wanted.runner):
        # Until it has announced itself again nobody would rescue what it claims.
        raise StoreError(f"runner {wanted.runner} is not announced, or was taken for dead; it gets no jobs")
    next_due = group.read("next_due")
    if next_due is not None and next_due <= now:
        _move_due(group, now)
        next_due = group.read("next_due")
    chosen = _choose(group, wanted)
    if chosen:
        group.run("claim", ids=to_json([job.id for job, _ in chosen]), runner=wanted.runner, now=now)
    for queue, n in Counter(queue for _, queue in chosen).items():
        group.moved(queue, JobState.PENDING, JobState.PROCESSING, n)
    return Claim([job for job, _ in chosen], next_due, now)


def _move_due(group: Group, now: Instant) -> None:
    due = _plain.decode(group.read("due", now=now, limit=MOVE_LIMIT))
    group.run("move_due", ids=to_json([id for id, _ in due]), ageing=DEFAULT_AGEING)
    for _, queue in due:
        group.moved(queue, JobState.SCHEDULED, JobState.PENDING)


def _choose(group: Group, wanted: _Wanted) -> list[tuple[ClaimedJob, str]]:
    """Return the jobs to claim, each with its queue: the `room` of lowest rank, at most one of them a suspect."""
    group.write_counts()  # what this very transaction made pending must be found too
    found: list[tuple[ClaimedJob, str]] = []
    suspects: list[tuple[ClaimedJob, str]] = []
    for [queue] in group.rows("waiting_queues"):
        values = {"queue": queue, "names": wanted.names, "globs": wanted.globs}
        found += [(job, queue) for job in _claimed.decode(group.read("claimable", room=wanted.room, **values))]
        suspect = group.read("claimable_suspect", runner=wanted.runner, **values)
        suspects += [(job, queue) for job in _claimed.decode(suspect)]
    return heapq.nsmallest(wanted.room, found + sorted(suspects, key=_by_rank)[:1], key=_by_rank)


def _by_rank(candidate: tuple[ClaimedJob, str]) -> tuple[Instant, str]:
    return candidate[0].rank, candidate[0].id


def _finish(group: Group, endings: Sequence[Ending], now: Instant) -> list[bool]:
    # Once each: an ending that stands twice in a batch is a repetition too.
    packed = to_json(list({(ending.id, ending.token): ending for ending in reversed(endings)}.values()))
    held = _plain.decode(group.read("finishable", endings=packed))
    accepted = {(id, token) for id, token, *_ in held}
    if held:
        group.run("finish", endings=packed, now=now)
    for (queue, state), n in Counter((queue, state) for _, _, queue, _, state in held).items():
        group.moved(queue, JobState.PROCESSING, JobState(state), n)
    group.ended += [id for id, *_, state in held if state != JobState.SCHEDULED]
    # A suspect that ends makes room for the next one, which may have waited for that alone.
    group.arrived = group.arrived or any(suspect or state == JobState.SCHEDULED for *_, suspect, state in held)
    if len(accepted) < len(endings):
        accepted.update(map(tuple, _plain.decode(group.read("finished_before", endings=packed))))
    answers = [(ending.id, ending.token) in accepted for ending in endings]
    if not all(answers):
        group.raise_total("stale_finishes_rejected", answers.count(False))
    return answers


def release_unknown(group: Group, runner: str, held: Collection[tuple[str, int]]) -> int:
    """Put all that is listed under a runner, but for what it holds, back to wait; return how many."""
    return _release(group, group.read("unknown_held", runner=runner, held=to_json(held)))


def _release(group: Group, held: str) -> int:
    """Put jobs, given as JSON pairs of (id, queue), back to wait."""
    pairs = _plain.decode(held)
    if pairs:
        group.run("release", ids=to_json([id for id, _ in pairs]))
        group.arrived = True
    for _, queue in pairs:
        group.moved(queue, JobState.PROCESSING, JobState.PENDING)
    return len(pairs)


def _rescue(group: Group, known_dead: Collection[str], leases: dict[str, Any], now: Instant) -> list[Rescue]:
    listed = {id for [id] in group.rows("dead_runners", now=now, dead=to_json(sorted(known_dead)), **leases)}
    # Those that are named are looked at even without a row: one that was rescued may have claimed once more.
    rescues = [_rescue_from(group, runner, now) for runner in sorted(listed.union(known_dead))]
    return [rescue for rescue in rescues if rescue.runner in listed or rescue.requeued or rescue.given_up]


def _rescue_from(group: Group, runner: str, now: Instant) -> Rescue:
    orphans = [_Orphan(*row) for row in _plain.decode(group.read("orphans", runner=runner))]
    unwanted = [orphan for orphan in orphans if orphan.cancel_requested]
    guilty = [o for o in orphans if not o.cancel_requested and o.suspect and o.deaths + 1 >= MAX_DEATHS]
    innocent = [orphan for orphan in orphans if orphan not in unwanted and orphan not in guilty]
    error = ErrorInfo("WorkerLost", f"its runner died {MAX_DEATHS} times while this job alone was under suspicion")
    _move_orphans(group, "cancel_orphans", unwanted, JobState.CANCELLED, now=now)
    _move_orphans(group, "give_up_orphans", guilty, JobState.FAILED, now=now, error=to_json(error))
    _move_orphans(group, "requeue_orphans", innocent, JobState.PENDING)
    group.run("forget_runner", runner=runner)
    return Rescue(runner, len(innocent), len(guilty))


class _Orphan(msgspec.Struct, frozen=True):
    id: str
    queue: str
    suspect: int
    deaths: int
    cancel_requested: int


def _move_orphans(group: Group, statement: str, orphans: list[_Orphan], after: JobState, **values: object) -> None:
    if not orphans:
        return
    group.run(statement, ids=to_json([orphan.id for orphan in orphans]), **values)
    for orphan in orphans:
        group.moved(orphan.queue, JobState.PROCESSING, after)
    if after.is_end:
        group.ended += [orphan.id for orphan in orphans]
    else:
        group.arrived = True
