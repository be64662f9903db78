"""What a pool counts, and the snapshot in which the counts add up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from math import frexp
from operator import add, length_hint
from typing import TYPE_CHECKING, Any

from millhand.core.clock import Instant, Seconds
from millhand.pool.current import inside

if TYPE_CHECKING:
    from millhand.pool.task import Task
    from millhand.pool.worker import Worker

BUCKETS = 64
SLOWEST = 5
"""How many of the longest calls a snapshot names."""

TINY: Seconds = 1e-9
QUICK: Seconds = 0.001
EXACT = 1_000
SAMPLE = 16
"""After a worker's first EXACT calls, one in SAMPLE of the QUICK ones is measured, for all of them: measuring each
one made a no-op call 20 % slower. What takes longer is always measured."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """This says how many durations fell into each power of two: `counts[limit]` lasted at least limit / 2, but less.

    Limits are seconds, ascending; those without a count are left out.
    """

    counts: Mapping[Seconds, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> Seconds:
        """Return a duration that the fraction `q` (0 to 1) of all stayed below: exact to a factor of two; 0 if none.

        Raises:
            ValueError: q is not between 0 and 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q must be between 0 and 1, got {q!r}")
        left = q * self.count
        for limit, n in self.counts.items():
            left -= n
            if left <= 0:
                return limit
        return 0.0


@dataclass(frozen=True, slots=True)
class SlowTask:
    """This is one of the longest calls so far."""

    run: Seconds
    name: str


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """This is one worker."""

    name: str
    """Its id; also the name of its thread, so it stands in log lines as `%(threadName)s`."""
    state: str
    """idle, running, waiting (for another call of its pool) or written off."""
    task: str
    """What it runs now; empty if nothing."""
    started: int
    """How many calls it has started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """This is one look at a pool; submitted is always the sum of the eight counts below it.

    At rest every count is exact. While the pool works, a task may appear one step behind where it is by
    now, never in two places and never in none. The histograms may lag behind by the calls of this moment, and
    after a thousand calls of a worker they are samples of those quicker than a millisecond, one in sixteen.
    """

    submitted: int
    """Calls of `submit`, those that raised QueueFull or PoolClosed included, and items of `map`."""
    waiting: int
    """In the queue, not cancelled."""
    running: int
    """Started, not ended."""
    done: int
    """Returned."""
    failed: int
    """Raised; also: could not be run because the pool broke or gave up."""
    cancelled: int
    timed_out: int
    dropped: int
    """Failed with TaskDropped: the queue was full."""
    refused: int
    """Calls of `submit` that raised QueueFull, PoolClosed or BrokenThreadPool."""
    workers: int
    """Workers that take tasks."""
    written_off: int
    """Workers that take no more tasks, because the call that they are in ran over its timeout and never returned."""
    retried: int = 0
    """Attempts that failed and were followed by another one; none of them is counted as submitted, or as failed."""
    wait_time: Histogram = Histogram()
    """From submit to start, of the calls that ran."""
    run_time: Histogram = Histogram()
    total_time: Histogram = Histogram()
    """From submit to end, of the calls that ran."""
    slowest: tuple[SlowTask, ...] = ()
    """The longest calls that have ended, longest first."""
    table: tuple[WorkerStats, ...] = ()
    """The workers, one by one."""

    @property
    def utilisation(self) -> float:
        """Which part of the workers runs a call now, from 0 to 1."""
        return min(1.0, self.running / self.workers) if self.workers else 0.0


class Counter:
    """This counts events of any thread without a lock.

    `next` on a `repeat` is one C call, so no two threads take the same step; what it has left tells how
    many steps were taken.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = repeat(None, sys.maxsize)

    def add(self) -> None:
        """Count one."""
        next(self._left)

    def read(self) -> int:
        """Return how many were counted."""
        return sys.maxsize - length_hint(self._left)


class Tally:
    """This is what one thread counts of its own work: plain numbers, because nobody else writes them."""

    __slots__ = (
        "done",
        "failed",
        "fresh",
        "idle",
        "mark",
        "mask",
        "pulled",
        "runs",
        "slow",
        "slowest",
        "started",
        "taken",
        "totals",
        "waits",
    )

    def __init__(self) -> None:
        self.taken = 0
        """Items that came out of the queue, cancelled tasks included."""
        self.pulled = 0
        """Calls that came from elsewhere: the items of a `map`."""
        self.started = 0
        self.done = 0
        self.failed = 0
        self.idle = False
        """Will take the next item without doing anything else before."""
        self.mark: Instant = 0.0
        """When it became free for the call that it runs now."""
        self.fresh: Callable[[], Any] = inside
        """Gives a context to a call that brings none."""
        self.mask = 0
        """Quick calls are measured if their number has none of these bits."""
        # Indexed by the exponent of a duration, which is negative below half a second: as Python's indices may be.
        self.waits = [0] * BUCKETS
        self.runs = [0] * BUCKETS
        self.totals = [0] * BUCKETS
        self.slow: Seconds = 0.0
        """What a call must exceed to be one of the slowest."""
        self.slowest: list[tuple[Seconds, str]] = []

    def time(self, task: Task, now: Instant, calls: int = 0) -> None:
        """Count the durations of a call that ends now, for those that it stands for, too; or of so many, in a row."""
        run = (now - self.mark) / (calls or 1)
        weight = calls or (self.mask + 1 if run <= QUICK else 1)
        self.waits[frexp(self.mark - task.submitted_at or TINY)[1]] += weight
        self.runs[frexp(run or TINY)[1]] += weight
        self.totals[frexp(now - task.submitted_at or TINY)[1]] += weight
        if run > self.slow:
            self._note_slow(run, task.name)
        if self.started >= EXACT:
            self.mask = SAMPLE - 1

    def lap(self, task: Task) -> None:
        """Count a call that ends now, unless it is one of those that others stand for; the next begins."""
        now = time.monotonic()
        if now - self.mark > QUICK or not self.started & self.mask:
            self.time(task, now)
        self.mark = now

    def _note_slow(self, run: Seconds, name: str) -> None:
        self.slowest = sorted([*self.slowest, (run, name)], reverse=True)[:SLOWEST]
        if len(self.slowest) == SLOWEST:
            self.slow = self.slowest[-1][0]

    def absorb(self, other: Tally) -> None:
        """Add the counts of a thread that has come to its end."""
        self.taken += other.taken
        self.pulled += other.pulled
        self.started += other.started
        self.done += other.done
        self.failed += other.failed
        self.waits = list(map(add, self.waits, other.waits))
        self.runs = list(map(add, self.runs, other.runs))
        self.totals = list(map(add, self.totals, other.totals))
        for slow in other.slowest:
            self._note_slow(*slow)


class Books:
    """This is what a crew counts beside the tallies of its workers, and how all of it is read."""

    __slots__ = (
        "cancels",
        "dropped",
        "expired",
        "failed_waiting",
        "overdue",
        "refused",
        "retried",
        "stopped",
        "without_place",
    )

    def __init__(self) -> None:
        self.cancels = Counter()
        """Tasks cancelled while they waited."""
        self.stopped = Counter()
        """Tasks cancelled while they ran."""
        self.refused = Counter()
        self.dropped = Counter()
        self.expired = Counter()
        """Tasks that timed out while they waited."""
        self.failed_waiting = Counter()
        """Tasks that could not be run because the pool broke or gave up."""
        self.overdue = Counter()
        """Tasks that timed out while they ran."""
        self.retried = Counter()
        """Attempts after which a task waits again."""
        self.without_place = Counter()
        """Submissions that took no place in the queue: refused or dropped at the door, or run by their submitter."""

    def look(
        self, tallies: Sequence[Tally], admitted: Callable[[], int], *, workers: int, written_off: int
    ) -> PoolStats:
        """Read everything: ends first, then starts, then submissions.

        A task passes these in the other order, so no end is read without its start, and no start without its
        submission; what is missing in between is waiting or running.
        """
        done, failed = sum(tally.done for tally in tallies), sum(tally.failed for tally in tallies)
        overdue, expired = self.overdue.read(), self.expired.read()
        unrun = self.failed_waiting.read()
        cancelled, stopped = self.cancels.read(), self.stopped.read()
        dropped, refused = self.dropped.read(), self.refused.read()
        started, retried = self._starts(tallies)
        pulled = sum(tally.pulled for tally in tallies)
        # One that is cancelled while it stands at the door is counted out before it is counted in.
        out = started + cancelled + expired + unrun + dropped + refused
        submitted = max(out, self.without_place.read() + admitted() + pulled)
        return PoolStats(
            submitted=submitted,
            waiting=submitted - out,
            running=started - done - failed - overdue - stopped,
            done=done,
            failed=failed + unrun,
            cancelled=cancelled + stopped,
            timed_out=overdue + expired,
            dropped=dropped,
            refused=refused,
            workers=workers,
            written_off=written_off,
            retried=retried,
        )

    def _starts(self, tallies: Sequence[Tally]) -> tuple[int, int]:
        """Return how many tasks have started, not counting attempts that were followed by another; and those."""
        retried = -1
        while retried != self.retried.read():  # one that waits and starts again in between would count as two
            retried = self.retried.read()
            started = sum(tally.started for tally in tallies)
        return started - retried, retried


def summary(
    books: Books, tallies: Sequence[Tally], admitted: Callable[[], int], crew: Sequence[Worker], **sizes: int
) -> PoolStats:
    """Return the whole snapshot of a pool: the counts first, then what need not agree with them."""
    stats = books.look(tallies, admitted, **sizes)
    total = Tally()
    for tally in tallies:
        total.absorb(tally)
    return replace(
        stats,
        wait_time=_histogram(total.waits),
        run_time=_histogram(total.runs),
        total_time=_histogram(total.totals),
        slowest=tuple(SlowTask(*slow) for slow in total.slowest),
        table=tuple(worker.look() for worker in sorted(crew, key=lambda worker: worker.number)),
    )


def _histogram(counts: Sequence[int]) -> Histogram:
    """Return what a tally counted by exponents."""
    exponents = sorted((i if i < BUCKETS // 2 else i - BUCKETS) for i, n in enumerate(counts) if n)
    return Histogram({2.0**exponent: counts[exponent] for exponent in exponents})
