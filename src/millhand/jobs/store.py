"""What a store must do: the contract, as five small protocols that every database answers alike.

Guarantees (each held by `tests/contract/test_store.py`, by the crash tests and by the simulator):

1. A method that changes something returns after the commit; what it returned is on disk.
2. Fencing: every claim and every rescue raises a job's token; a finish or release with another token changes nothing.
3. Repeating is safe: an enqueue with the same ids, and a finish with the same token and ending, change nothing more.
4. One request's refusal is nobody else's, also when they shared a commit.

`now` is for tests: None means the database's own clock, and product code never passes anything else.
All methods may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import ErrorInfo, QueueFull
from millhand.core.job import ClaimedJob, Job, JobState, NewJob


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought: the jobs by rank, and when the next scheduled job is due (None: there is none)."""

    jobs: list[ClaimedJob]
    next_due: Instant | None
    now: Instant


@dataclass(frozen=True, slots=True)
class Ending:
    """How one claimed job is to go on: into an end, or back to wait `delay` seconds (state `scheduled`)."""

    id: str
    token: int
    state: JobState
    result: str | None = None
    error: ErrorInfo | None = None
    delay: Seconds = 0.0
    counts_as_attempt: bool = True


@dataclass(frozen=True, slots=True)
class Rescue:
    """One dead runner: how many of its jobs wait again, and how many were given up as `worker_lost`."""

    runner: str
    requeued: int
    given_up: int


@dataclass(frozen=True, slots=True)
class RunnerRow:
    """A runner as the store sees it."""

    id: str
    host: str
    pid: int
    started_at: Instant
    beat_at: Instant
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first, and the cursor for the next page (None: this was the last)."""

    jobs: list[Job]
    next_cursor: str | None


class Intake(Protocol):
    """Where jobs come in."""

    def enqueue(
        self, jobs: Sequence[NewJob], *, limit: int | None = None, now: Instant | None = None
    ) -> list[QueueFull | None]:
        """Keep these jobs, and answer for each: None (it is on disk) or why it was refused.

        `limit` bounds the jobs that wait, these included; when the room is short the first ones get it.
        An id that is already known is accepted and changes nothing.
        """


class Claims(Protocol):
    """Where runners take jobs and bring them back."""

    def claim(self, runner: str, *, room: int, types: Collection[str], now: Instant | None = None) -> Claim:
        """Take up to `room` waiting jobs of these types (names or globs), lowest rank first.

        Raises StoreError for a runner that is not announced, or was taken for dead meanwhile.
        A suspect (a job whose runner died) is given to a runner only while it holds no other suspect.
        """

    def finish(self, endings: Sequence[Ending], *, now: Instant | None = None) -> list[bool]:
        """Bring jobs back, and answer for each: True, or False because the token was stale.

        A job that is to wait again but was asked to be cancelled meanwhile ends as `cancelled`.
        """

    def release(self, held: Collection[tuple[str, int]], *, now: Instant | None = None) -> int:
        """Give back claimed jobs, as (id, token), that were never started; not counted as attempts."""

    def renew(self, runner: str, *, lease: Seconds, now: Instant | None = None) -> bool:
        """Make this runner's lease last `lease` seconds from now; False: the store took it for dead meanwhile."""

    def reconcile(self, runner: str, *, held: Collection[tuple[str, int]], now: Instant | None = None) -> int:
        """Release the jobs listed under this runner that are not in `held`, all that it knows of, as (id, token).

        A claim whose answer never arrived must not keep its jobs. The caller sees to it that no claim of
        its own is under way.
        """

    def rescue(
        self,
        *,
        dead: Collection[str] = (),
        expired: bool = True,
        judge: str | None = None,
        now: Instant | None = None,
    ) -> list[Rescue]:
        """Free the jobs of dead runners.

        Those are: the ones named in `dead`, those whose death lock is free, and, if `expired`, those whose
        lease ran out.

        Only who made its own last beats in time may ask for `expired`: a store that nobody could write for a
        while holds only leases that look expired. `judge` names the runner that asks; leases are then judged
        only if more than half of its own is left when the store comes to it.
        """

    def cancel_wishes(self, runner: str) -> list[str]:
        """Return the ids of the jobs of this runner that somebody wants cancelled."""


class Reading(Protocol):
    """Where everybody looks; never waits for a writer."""

    def get(self, id: str) -> Job:
        """Return a job as it stands. Raises JobNotFound."""

    def get_many(self, ids: Collection[str]) -> list[Job]:
        """Return those of these jobs that exist, in no particular order."""

    def find(
        self, *, state: JobState | None = None, type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """Return one page of jobs, newest first."""

    def counts(self) -> Mapping[JobState, int]:
        """Return how many jobs are in each state."""

    def totals(self) -> Mapping[str, int]:
        """Return the counters that only grow, such as `stale_finishes_rejected`."""

    def types(self) -> list[str]:
        """Return the types that runners have declared (names and globs)."""

    def runners(self) -> list[RunnerRow]:
        """Return every runner the store knows."""

    def changed(self) -> int:
        """Return a number that differs from the last one whenever anybody committed. Costs microseconds."""

    def arrivals(self) -> int:
        """Return a number that grows whenever work may have become claimable."""


class Control(Protocol):
    """Where people change what happens to a job."""

    def cancel(self, id: str, *, now: Instant | None = None) -> Job:
        """End a waiting job as `cancelled`, or ask the runner of a processing one to stop; return it as it is then.

        A job that had ended stays as it is. Raises JobNotFound.
        """


class Housekeeping(Protocol):
    """What keeps a store in order."""

    def announce(self, runner: str, *, lease: Seconds, now: Instant | None = None) -> None:
        """Make a runner known; from now on it must renew, and it dies for the store when this process does."""

    def retire(self, runner: str, *, now: Instant | None = None) -> None:
        """Forget a runner that ends in order; whatever is still listed under it goes back, uncounted."""

    def declare_types(self, types: Collection[str]) -> None:
        """Tell every process that jobs of these types can be run."""

    def on_commit(self, listener: Callable[[bool, Sequence[str]], None]) -> Callable[[], None]:
        """Call `listener(arrived, ended ids)` after each commit of this process; return how to stop that.

        It is called by the writing thread: it must be quick and must not call the store.
        """

    def close(self) -> None:
        """Finish what was asked for, then close every connection. Idempotent."""


class Store(Protocol):
    """The five parts, as one thing to hand around."""

    @property
    def intake(self) -> Intake:
        """Where jobs come in."""

    @property
    def claims(self) -> Claims:
        """Where runners take and bring back."""

    @property
    def reading(self) -> Reading:
        """Where everybody looks."""

    @property
    def control(self) -> Control:
        """Where people change what happens."""

    @property
    def housekeeping(self) -> Housekeeping:
        """What keeps it in order."""
