"""What a pool counts, and the snapshot in which the counts add up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import length_hint


@dataclass(frozen=True, slots=True)
class PoolStats:
    """This is one look at a pool; submitted is always the sum of the seven counts below it.

    At rest every count is exact. While the pool works, a task may appear one step behind where it is by
    now, never in two places and never in none.
    """

    submitted: int
    """Calls of `submit`, those that raised QueueFull or PoolClosed included."""
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
    refused: int
    """Calls of `submit` that raised QueueFull, PoolClosed or BrokenThreadPool."""
    workers: int
    """Threads that take tasks."""
    written_off: int
    """Threads that take no more tasks, because the call that they are in ran over its timeout and never returned."""


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

    __slots__ = ("done", "failed", "idle", "started", "taken")

    def __init__(self) -> None:
        self.taken = 0
        """Items that came out of the queue, cancelled tasks included."""
        self.started = 0
        self.done = 0
        self.failed = 0
        self.idle = False
        """Will take the next item without doing anything else before."""

    def absorb(self, other: Tally) -> None:
        """Add the counts of a thread that has come to its end."""
        self.taken += other.taken
        self.started += other.started
        self.done += other.done
        self.failed += other.failed


class Books:
    """This is what a crew counts beside the tallies of its workers, and how all of it is read."""

    __slots__ = ("cancels", "refused", "timed_out", "without_place")

    def __init__(self) -> None:
        self.cancels = Counter()
        self.refused = Counter()
        self.timed_out = Counter()
        self.without_place = Counter()
        """Submissions that never took a place in the queue: refused at the door, or run by their submitter."""

    def look(
        self, tallies: Sequence[Tally], admitted: Callable[[], int], *, workers: int, written_off: int
    ) -> PoolStats:
        """Read everything: ends first, then starts, then submissions.

        A task passes these in the other order, so no end is read without its start, and no start without its
        submission; what is missing in between is waiting or running.
        """
        done, failed = sum(tally.done for tally in tallies), sum(tally.failed for tally in tallies)
        timed_out, cancelled, refused = self.timed_out.read(), self.cancels.read(), self.refused.read()
        started = sum(tally.started for tally in tallies)
        submitted = self.without_place.read() + admitted()
        return PoolStats(
            submitted=submitted,
            waiting=submitted - started - cancelled - refused,
            running=started - done - failed - timed_out,
            done=done,
            failed=failed,
            cancelled=cancelled,
            timed_out=timed_out,
            refused=refused,
            workers=workers,
            written_off=written_off,
        )
