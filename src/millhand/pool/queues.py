"""The waiting line of a pool: bounded, first come first served until the first task brings a priority.

Guarantees:
    No more tasks wait than there are places, ever; a place becomes free when a worker takes a task.
    Tasks run in the order of their rank (`policy.rank`), equal ranks in the order of submission.

Places:
    A place is one step of `places`, an iterator that ends when they are used up. `next` on it is one C call,
    so a place is never given to two. New places are issued only when the old ones are used up, as many as
    tasks have been taken since: the bound is exact, without a lock per task and without counting twice.
    (A look at `qsize` before each put is cheaper to explain, but every thread between its look and its put
    can be one too many.)

Order:
    A C `SimpleQueue` holds the tasks themselves. From the first priority on they stand in a heap, and the
    queue holds one token for each, so that workers wait in C either way. The functions of `heapq` are C and
    compare only numbers here, so under the GIL each call is atomic.

Locks:
    `_freed` (re-entrant, since a finaliser may submit): issuing places, emptying the queue. Under it the
    crew's roster lock may be taken, never the other way round.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush, heappushpop
from itertools import count, repeat
from operator import length_hint
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from millhand.core.clock import Instant
from millhand.policy.rank import DEFAULT_AGEING, rank
from millhand.pool.task import Task

TOKEN: Any = object()
"""Stands in the queue for a task in the heap; only `Line.best` ever sees it."""

Item: TypeAlias = Task | None
"""What comes out of the queue; None wakes a worker, who then looks whether it is to leave."""


class Line:
    """This is where tasks wait.

    Submitting takes a place (`next(line.places, False)`, else `issue_place` or `wait_for_place`), then puts.

    Args:
        items: the queue that workers wait on.
        size: how many tasks may wait; None: as many as fit in memory.
        taken: how many items workers have taken so far; may lag behind, never be ahead.
    """

    def __init__(self, items: SimpleQueue[Item], size: int | None, taken: Callable[[], int]) -> None:
        self.size = sys.maxsize if size is None else size
        self.take, self.put = items.get, items.put
        self.places = repeat(True, self.size)
        self.ranked = False
        self.bell = False
        """Somebody waits for a place: whoever takes a task must `ring`."""
        self._items = items
        self._taken = taken
        self._issue = (self.places, self.size)  # one tuple, so that `admitted` reads both of one moment
        self._freed = threading.Condition()
        self._heap: list[tuple[int, Instant, int, Task]] = []
        self._sequence = count()

    def admitted(self) -> int:
        """Return how many places were taken so far."""
        places, issued = self._issue
        return issued - length_hint(places)

    def waiting(self) -> int:
        """Return how many places are taken now."""
        return self.admitted() - self._taken()

    def issue_place(self) -> bool:
        """Take a place, issuing those that have become free; False if none has."""
        with self._freed:
            if next(self.places, False):
                return True
            free = self.size - self.waiting()
            if free <= 0:
                return False
            places = repeat(True, free)
            self._issue = (places, self._issue[1] + free)
            self.places = places
            return next(places)

    def wait_for_place(self, is_over: Callable[[], bool]) -> bool:
        """Block until there is a place, and take it; False when `is_over` and somebody rang."""
        with self._freed:
            try:
                while True:
                    self.bell = True  # before the look: whoever takes a task after the look must see it
                    if self.issue_place():
                        return True
                    if is_over():
                        return False
                    self._freed.wait()
            finally:
                # More than one place may have come free by one ring, and a waiter may leave by an exception:
                # the next one looks for itself. If it finds nothing, it sets the bell again.
                self._freed.notify()

    def ring(self) -> None:
        """Let the first who waits for a place look again."""
        with self._freed:
            self.bell = False
            self._freed.notify()

    def put_ranked(self, task: Task, priority: int) -> None:
        """Add a task by rank; the first call switches the line from arrival to ranks, for good."""
        if not self.ranked:
            self._switch_to_ranks()
        heappush(self._heap, self._entry(task, priority))
        self.put(TOKEN)

    def best(self, item: Item) -> Task | None:
        """Exchange what came out of the queue for the task that ranks first."""
        if item is None:
            return None
        if item is TOKEN:
            return heappop(self._heap)[-1]
        # Put by a submit that had looked at `ranked` just before the switch: it ranks from now on.
        return heappushpop(self._heap, self._entry(item, 0))[-1]

    def has_ranked(self) -> bool:
        """Return whether a task stands in the heap: then nobody may leave, not even at a None.

        A submit that races with a close may put its token behind the None, and its task in front of others:
        it is their tokens, then, that are left over. And the switch to ranks may hold tasks in its hands.
        """
        with self._freed:
            return bool(self._heap)

    def drain(self) -> list[Task]:
        """Take out all that waits; the Nones go, too."""
        with self._freed:
            items = self._unload()
            tasks = map(self.best, items) if self.ranked else items
            return [task for task in tasks if task is not None]

    def close(self) -> None:
        """Wake one worker, who passes it on, and everybody who waits for a place."""
        self.put(None)
        with self._freed:
            self._freed.notify_all()

    def _switch_to_ranks(self) -> None:
        with self._freed:
            if self.ranked:
                return
            self.ranked = True
            # They rank as of this moment, in their order: a line without priorities keeps no times.
            items = self._unload()
            for item in items:
                if item is not None:
                    if item is not TOKEN:  # a token: of a submit that saw `ranked` and was quicker than this
                        heappush(self._heap, self._entry(item, 0))
                    self.put(TOKEN)
            if None in items:
                self.put(None)  # behind the tokens: workers leave when they meet it

    def _unload(self) -> list[Item]:
        items: list[Item] = []
        try:
            while True:
                items.append(self._items.get_nowait())
        except Empty:
            return items

    def _entry(self, task: Task, priority: int) -> tuple[int, Instant, int, Task]:
        band, key = rank(priority, time.monotonic(), DEFAULT_AGEING)
        return band, key, next(self._sequence), task
