"""The waiting line of a pool: bounded, in the order of arrival until something asks for another one.

Guarantees:
    No more tasks wait than there are places, ever; a place becomes free when a worker takes a task.
    Tasks run in the line's order (`pool.order`).

Places:
    A place is one step of `places`, an iterator that ends when they are used up. `next` on it is one C call,
    so a place is never given to two. New places are issued only when the old ones are used up, as many as
    tasks have been taken since: the bound is exact, without a lock per task and without counting twice.
    (A look at `qsize` before each put is cheaper to explain, but every thread between its look and its put
    can be one too many.)

Order:
    As long as arrival decides, a C `SimpleQueue` holds the tasks themselves. From the first priority on, or
    from the start where the pool's order or policy asks for it, they stand in an `Order`, and the queue holds
    one token for each: workers wait in C either way. Whoever has a token may pop one task.

Locks:
    `_sorting`: the order. Submitters and workers do not queue up for it: who queues owns a lock as soon as it is
    released, before he has the GIL, so the next one has to queue, too, and in such a convoy each task waits for
    two switches of threads, five times as long as all the rest takes. They yield, and try again.
    `_freed`: issuing places, emptying the queue; `_sorting` may be taken under it. Both are re-entrant, since a
    finaliser may submit or cancel. Under `_freed` the crew's roster lock may be taken, never the other way round.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import repeat
from operator import length_hint
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from millhand.core.clock import Seconds
from millhand.policy.rank import DEFAULT_AGEING
from millhand.pool.options import Settings
from millhand.pool.order import OrderName, make_order
from millhand.pool.stats import Counter
from millhand.pool.task import Task

TOKEN: Any = object()
"""Stands in the queue for a task in the order; only `Line.best` ever sees it."""

Item: TypeAlias = Task | None
"""What comes out of the queue; None wakes a worker, who then looks whether it is to leave."""


class Line:
    """This is where tasks wait.

    Submitting takes a place (`next(line.places, False)`, else `issue_place` or `wait_for_place`), then puts.

    Args:
        items: the queue that workers wait on.
        size: how many tasks may wait; None: as many as fit in memory.
        taken: how many items workers have taken so far; may lag behind, never be ahead.
        order: "fifo" and "fair" look at priorities with ageing, "lifo" strictly.
        ageing: how many seconds of waiting outweigh one level of priority; None: none do.
        ordered: keep the order from the start, so that it can say which task is the oldest or the lowest.
    """

    def __init__(
        self,
        items: SimpleQueue[Item],
        size: int | None,
        taken: Callable[[], int],
        order: OrderName = "fifo",
        ageing: Seconds | None = DEFAULT_AGEING,
        *,
        ordered: bool = False,
    ) -> None:
        self.size = sys.maxsize if size is None else size
        self.put: Callable[[Task], None] = items.put
        self.places = repeat(True, self.size)
        self.bell = False
        """Somebody waits for a place: whoever takes a task must `ring`."""
        self.parked = 0
        """How many wait elsewhere, and take a place nevertheless (`pool.parking`, under its lock)."""
        self.ordered = False
        self._items = items
        self._taken = taken
        self._issue = (self.places, self.size)  # one tuple, so that `admitted` reads both of one moment
        self._beyond = Counter()
        self._returned = Counter()
        self._freed = threading.Condition()
        self._callers: deque[Callable[[], object]] = deque()
        self._order = make_order(order, ageing)
        self._sorting = threading.RLock()
        if ordered or order != "fifo":
            self.keep_order()

    @classmethod
    def of(
        cls,
        settings: Settings,
        items: SimpleQueue[Item],
        workers: int,
        *,
        taken: Callable[[], int],
        ended: Callable[[], int],
    ) -> Line:
        """Return the line of a crew of so many workers; where nothing waits, the places are the workers themselves."""
        hands_over = settings.hands_over
        return cls(
            items,
            workers if hands_over else settings.queue_size,
            ended if hands_over else taken,
            settings.order,
            settings.ageing,
            ordered=settings.when_full in ("drop_oldest", "drop_lowest"),
        )

    # Places.

    def admitted(self) -> int:
        """Return how many places were taken so far."""
        places, issued = self._issue
        return issued - length_hint(places) - self._returned.read()

    def items_put(self) -> int:
        """Return how many items have come, or are about to, for workers to take."""
        return self.admitted() + self._beyond.read()

    def waiting(self) -> int:
        """Return how many items wait now."""
        return self.items_put() - self._taken()

    def resize(self, size: int) -> None:
        """Change how many tasks may wait."""
        with self._freed:
            self.size = size
            while next(self.places, False):  # issue them anew, as many as there are to be
                self._returned.add()
            self._wake_one()  # who waits for a place may find one now, and then wakes the next

    def issue_place(self) -> bool:
        """Take a place, issuing those that have become free; False if none has."""
        with self._freed:
            if next(self.places, False):
                return True
            free = self._free()
            if free <= 0:
                return False
            places = repeat(True, free)
            self._issue = (places, self._issue[1] + free)
            self.places = places
            return next(places)

    def wait_for_place(self, is_over: Callable[[], bool], timeout: Seconds | None = None) -> bool:
        """Block until there is a place, and take it; False when `is_over` and somebody rang, or after `timeout`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._freed:
            try:
                while True:
                    self.bell = True  # before the look: whoever takes a task after the look must see it
                    if self.issue_place():
                        return True
                    left = None if deadline is None else deadline - time.monotonic()
                    if is_over() or (left is not None and left <= 0):
                        return False
                    self._freed.wait(left)
            finally:
                # More than one place may have come free by one ring, and a waiter may leave by an exception:
                # the next one looks for itself. If it finds nothing, it sets the bell again.
                self._wake_one()

    def ask_for_place(self, callback: Callable[[], object]) -> None:
        """Have `callback()` called once, from any thread, when a place may be free, or when the line closes."""
        with self._freed:
            self._callers.append(callback)
            self.bell = True
            if self._free() > 0:
                self._wake_one()

    def ring(self) -> None:
        """Let the first who waits for a place look again."""
        with self._freed:
            self.bell = False
            self._wake_one()

    def _wake_one(self) -> None:
        self._freed.notify()
        if self._callers:
            self._callers.popleft()()
            self.bell = self.bell or bool(self._callers)

    def _free(self) -> int:
        return self.size - self.waiting() - self.parked

    # Putting and taking.

    def put_beyond(self, task: Task) -> None:
        """Add a task that needs no place, since whoever puts it sees to a bound."""
        self._beyond.add()
        self.put(task)

    def keep_order(self) -> None:
        """Switch from arrival to order, for good; what waits already keeps the time of its submission."""
        with self._freed, self._sorting:
            if self.ordered:
                return
            self.ordered = True
            self.put = self._put_ordered
            items = self._unload()
            for item in items:
                if item is TOKEN:  # of a finaliser that submitted in between
                    self._items.put(item)
                elif item is not None:
                    self._put_ordered(item)
            for _ in range(items.count(None)):  # as many as there were: each may be there to wake another worker
                self._items.put(None)  # behind the tokens: workers leave when they meet it

    def best(self, item: Item) -> Item:
        """Exchange what came out of the queue for the task that runs first. Only when `ordered`."""
        if item is None:
            return None
        sorting = self._sorting
        if not sorting.acquire(blocking=False):
            _insist_on(sorting)
        try:
            if item is not TOKEN:  # put by a submit that had looked for `put` just before the switch
                self._order.push(item)
            task: Task = self._order.pop()
            return task
        finally:
            sorting.release()

    def give_back(self, item: Item) -> Item:
        """Let an item wait again that was taken out of the queue, but not exchanged. Only when `ordered`.

        Returns None: what the worker has then.
        """
        if item is None or item is TOKEN:
            self._items.put(item)
        else:
            self.put(item)
        return None

    def reprioritise(self, task: Task, priority: int) -> bool:
        """Give a waiting task another priority; False if it does not wait any more."""
        self.keep_order()
        with self._sorting:
            return getattr(task, "turn", None) is not None and self._order.reprioritise(task, priority)

    def swap_oldest(self, task: Task) -> Task | None:
        """Put a task in the place of the one that was submitted first; return that. None: nothing waits."""
        return self._swap(task, self._order.remove_oldest)

    def swap_lowest(self, task: Task) -> Task | None:
        """Put a task, take out the one that would run last, maybe the same, and return it. None: nothing waits."""
        return self._swap(task, self._order.remove_lowest)

    def has_ordered(self) -> bool:
        """Return whether a task stands in the order: then nobody may leave, not even at a None.

        A submit that races with a close may put its token behind the None, and its task in front of others:
        it is their tokens, then, that are left over. And the switch to order may hold tasks in its hands.
        """
        with self._freed:
            return len(self._order) > 0

    def regroup(self) -> bool:
        """Put what only wakes workers behind the tasks; return whether there are any, so that nobody may leave.

        A None may have come before them: it was to wake one of those who were too many, and all were busy.
        """
        with self._freed:
            items = self._unload()
            tasks = [item for item in items if item is not None]
            for item in tasks:
                self._items.put(item)
            self._items.put(None)
            return bool(tasks) or self.has_ordered()

    def drain(self) -> list[Task]:
        """Take out all that waits; the Nones go, too."""
        with self._freed:
            items = self._unload()
            tasks = map(self.best, items) if self.ordered else items
            return [task for task in tasks if task is not None]

    def close(self) -> None:
        """Wake one worker, who passes it on, and everybody who waits for a place."""
        self._items.put(None)
        with self._freed:
            self._freed.notify_all()
            while self._callers:
                self._callers.popleft()()

    def _put_ordered(self, task: Task) -> None:
        sorting = self._sorting
        if not sorting.acquire(blocking=False):
            _insist_on(sorting)
        try:
            self._order.push(task)
        finally:
            sorting.release()
        self._items.put(TOKEN)

    def _swap(self, task: Task, remove: Callable[[], Task]) -> Task | None:
        self.keep_order()  # a single call may ask for it, in a line that kept none so far
        with self._freed, self._sorting:
            item = self._take_back()  # the token of the one that goes: then no worker can come for it
            if item is None:
                return None
            if item is not TOKEN:
                self._order.push(item)
            self._order.push(task)
            self._items.put(TOKEN)
            errands = []
            while not (gone := remove()).counted:  # there is one that is: the newcomer, if no other
                errands.append(gone)
            for errand in errands:
                self._order.push(errand)
            return gone

    def _take_back(self) -> Item:
        """Take an item that is none of those that only wake a worker; None: there is no such item."""
        passed = 0
        try:
            while (item := self._items.get_nowait()) is None:
                passed += 1
        except Empty:
            return None
        finally:
            for _ in range(passed):
                self._items.put(None)
        return item

    def _unload(self) -> list[Item]:
        items: list[Item] = []
        try:
            while True:
                items.append(self._items.get_nowait())
        except Empty:
            return items


def _insist_on(lock: Any) -> None:
    """Take a lock that is held only for moments, without queueing up for it."""
    while not lock.acquire(blocking=False):
        os.sched_yield()
