"""The orders in which a pool's waiting calls run: by rank, the newest first, or fair by key.

Guarantees:
    Every operation is O(log n) amortised. Memory stays within a constant factor of what waits: no heap holds
    more dead entries (of calls that were removed, or changed their priority) than living ones.
    What only dropping needs is built at the first drop, in O(n), and kept up from then on.

Locks:
    None here, and no clock: the caller holds a lock, and brings the times.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from operator import itemgetter
from typing import Any, Literal, Protocol, TypeAlias

from millhand.core.clock import Instant, Seconds
from millhand.policy.rank import rank

OrderName: TypeAlias = Literal["fifo", "lifo", "fair"]


class Entry(Protocol):
    """This is what can wait in an order: a task. It is pushed once."""

    priority: int
    turn: Turn | None
    """Its heap entry while it waits, set by the order; any other that names it is dead."""

    @property
    def submitted_at(self) -> Instant:
        """Since when it waits; `policy.rank` calls it ready_at."""

    @property
    def key(self) -> Hashable:
        """Whom it is for, in a fair order."""


Turn: TypeAlias = tuple[int, Instant, int, Any]
"""(band, rank, number of the push, entry): a tuple, so that `heapq` compares in C and never reaches the entry."""


class Order(Protocol):
    """This is what a pool asks of an order. What takes one out raises IndexError if none waits."""

    __slots__ = ()

    def push(self, entry: Entry) -> None:
        """Let an entry wait."""

    def pop(self) -> Any:
        """Take the one that runs next."""

    def reprioritise(self, entry: Entry, priority: int) -> bool:
        """Put an entry where it would stand had it been pushed with this priority; False if it does not wait."""

    def remove(self, entry: Entry) -> bool:
        """Take this one out; False if it does not wait."""

    def peek_oldest(self) -> Entry | None:
        """Return the one that `remove_oldest` would take."""

    def peek_lowest(self) -> Entry | None:
        """Return the one that `remove_lowest` would take."""

    def __len__(self) -> int: ...

    def remove_oldest(self) -> Any:
        """Take the one that was pushed first."""
        return _taken(self, self.peek_oldest())

    def remove_lowest(self) -> Any:
        """Take the one that would run last.

        To weigh a newcomer against those who wait, push it first: it comes back if it is the lowest itself.
        """
        return _taken(self, self.peek_lowest())


def make_order(name: OrderName, ageing: Seconds | None) -> Order:
    """Return an empty order; ageing (None: strict) means nothing to "lifo", which is always strict."""
    if name not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {name!r}")
    return ORDERS[name](ageing)


class Ranked(Order):
    """This runs calls by `policy.rank`, equals as they came: first come first served among equal priorities."""

    __slots__ = ("_ageing", "_dead", "_heap", "_numbers", "_views")

    def __init__(self, ageing: Seconds | None) -> None:
        self._ageing = ageing
        self._heap: list[Turn] = []
        self._dead = 0
        self._numbers = count()
        self._views: dict[_Key, _View] = {}

    def push(self, entry: Entry) -> None:
        """Let an entry wait."""
        self._add(entry, next(self._numbers))

    def pop(self) -> Any:
        """Take the one that runs next."""
        # Where none lives there are no dead ones either, so heappop itself raises.
        turn = heappop(self._heap)
        entry: Entry = turn[3]
        while entry.turn is not turn:
            self._dead -= 1
            turn = heappop(self._heap)
            entry = turn[3]
        entry.turn = None
        if self._dead or self._views:
            self._tidy()
        return entry

    def reprioritise(self, entry: Entry, priority: int) -> bool:
        """Put an entry where it would stand had it been pushed with this priority; False if it does not wait."""
        if entry.turn is None:
            return False
        entry.priority = priority
        self._add(entry, entry.turn[2])
        self._dead += 1
        self._tidy()
        return True

    def remove(self, entry: Entry) -> bool:
        """Take this one out; False if it does not wait."""
        if entry.turn is None:
            return False
        entry.turn = None
        self._dead += 1
        self._tidy()
        return True

    def peek_oldest(self) -> Entry | None:
        """Return the one that was pushed first."""
        return self._view(_number).first()

    def peek_lowest(self) -> Entry | None:
        """Return the one that would run last."""
        return self._view(_lowness).first()

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def _add(self, entry: Entry, number: int) -> None:
        turn = entry.turn = self._turn(entry, number)
        heappush(self._heap, turn)
        if self._views:
            for view in self._views.values():
                view.add(turn)

    def _turn(self, entry: Entry, number: int) -> Turn:
        band, key = rank(entry.priority, entry.submitted_at, self._ageing)
        return band, key, number, entry

    def _view(self, key: _Key) -> _View:
        if key not in self._views:
            self._views[key] = _View(key, self._heap)
        return self._views[key]

    def _tidy(self) -> None:
        live = len(self)
        if self._dead > live:
            self._heap = list(filter(_is_live, self._heap))
            heapify(self._heap)
            self._dead = 0
        for view in self._views.values():
            view.tidy(live)


class Lifo(Ranked):
    """This runs the higher priority first, however long others wait, and within a priority the newest first."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None)

    def _turn(self, entry: Entry, number: int) -> Turn:
        return -entry.priority, -number, number, entry


class Fair(Order):
    """This serves the keys in turn, one call each; within a key by rank.

    Between two calls of a key that has more waiting, every other key runs at most one, whatever it submits and
    however high its priorities, which count only within the key. A key that comes, or comes back, joins behind
    all that wait. Dropping takes from the key with the most waiting, so that whoever floods the pool pays for it.
    Of keys with equally many, it takes the oldest from the one that came to that number first, the lowest from
    the last (the first drop of all, before which nobody counts, goes by the turn of the keys).

    Algorithm: start-time fair queueing (Goyal, Vin, Cheng 1996) where each call costs one, with the self-clocked
    virtual time of Golestani (1994), the finish tag of the call served last. A tag is then the number of a
    round, and equal tags go by arrival, so a ring says the same without numbers; and since no idle key's finish
    tag lies ahead of virtual time, nothing is remembered of a key that has nothing waiting. (Goyal's virtual
    time, the start tag, lets a newcomer in before those who were served in this round: a stream of ever new
    keys then starves the others, and all of them must be remembered meanwhile.) Dropping is longest queue drop.
    """

    __slots__ = ("_ageing", "_lengths", "_live", "_ring")

    def __init__(self, ageing: Seconds | None) -> None:
        self._ageing = ageing
        # Not a plain dict: that finds its first key in O(1) only until keys before it were deleted.
        self._ring: OrderedDict[Hashable, Ranked] = OrderedDict()
        self._live = 0
        self._lengths: _Lengths | None = None

    def push(self, entry: Entry) -> None:
        """Let an entry wait."""
        line = self._ring.get(entry.key)
        if line is None:
            line = self._ring[entry.key] = Ranked(self._ageing)
        line.push(entry)
        self._count(entry.key, line, 1)

    def pop(self) -> Any:
        """Take the one that runs next."""
        if not self._ring:
            raise IndexError("nothing waits")
        key, line = next(iter(self._ring.items()))
        self._ring.move_to_end(key)
        entry = line.pop()
        self._count(key, line, -1)
        return entry

    def reprioritise(self, entry: Entry, priority: int) -> bool:
        """Put an entry where it would stand within its key; False if it does not wait."""
        return entry.turn is not None and self._ring[entry.key].reprioritise(entry, priority)

    def remove(self, entry: Entry) -> bool:
        """Take this one out; False if it does not wait."""
        removed = (entry.turn is not None) and self._ring[entry.key].remove(entry)
        if removed:
            self._count(entry.key, self._ring[entry.key], -1)
        return removed

    def peek_oldest(self) -> Entry | None:
        """Return the one that was pushed first of the key with the most waiting."""
        return self._ring[next(iter(self._longest()))].peek_oldest() if self._ring else None

    def peek_lowest(self) -> Entry | None:
        """Return the one that would run last of the key with the most waiting."""
        return self._ring[next(reversed(self._longest()))].peek_lowest() if self._ring else None

    def __len__(self) -> int:
        return self._live

    def _longest(self) -> OrderedDict[Hashable, None]:
        if self._lengths is None:
            self._lengths = _Lengths()
            for key, line in self._ring.items():
                self._lengths.change(key, 0, len(line))
        return self._lengths.longest()

    def _count(self, key: Hashable, line: Ranked, by: int) -> None:
        self._live += by
        if not line:
            del self._ring[key]
        if self._lengths is not None:
            self._lengths.change(key, len(line) - by, len(line))


ORDERS: dict[OrderName, Callable[[Seconds | None], Order]] = {
    "fifo": Ranked,
    "lifo": lambda ageing: Lifo(),
    "fair": Fair,
}

_Key: TypeAlias = Callable[[Turn], Any]
_number: _Key = itemgetter(2)


def _lowness(turn: Turn) -> tuple[float, ...]:
    return -turn[0], -turn[1], -turn[2]


def _is_live(turn: Turn) -> bool:
    return turn[3].turn is turn


def _taken(order: Order, entry: Entry | None) -> Entry:
    if entry is None:
        raise IndexError("nothing waits")
    order.remove(entry)
    return entry


class _View:
    """This is a second order over what waits in a `Ranked`, for its oldest or its lowest."""

    __slots__ = ("_heap", "_key")

    def __init__(self, key: _Key, turns: Iterable[Turn]) -> None:
        self._key = key
        self._heap = [(key(turn), turn) for turn in turns]
        heapify(self._heap)

    def add(self, turn: Turn) -> None:
        heappush(self._heap, (self._key(turn), turn))

    def first(self) -> Entry | None:
        while self._heap and not _is_live(self._heap[0][1]):
            heappop(self._heap)
        return self._heap[0][1][3] if self._heap else None

    def tidy(self, live: int) -> None:
        if len(self._heap) > 2 * live:
            self._heap = [item for item in self._heap if _is_live(item[1])]
            heapify(self._heap)


class _Lengths:
    """This knows in O(1) which keys have the most waiting, since a length changes by one at a time."""

    __slots__ = ("_keys", "_longest")

    def __init__(self) -> None:
        self._keys: defaultdict[int, OrderedDict[Hashable, None]] = defaultdict(OrderedDict)
        self._longest = 0

    def change(self, key: Hashable, before: int, after: int) -> None:
        if before:
            del self._keys[before][key]
            if not self._keys[before]:
                del self._keys[before]
        if after:
            self._keys[after][key] = None
        if after > self._longest or self._longest not in self._keys:
            self._longest = after

    def longest(self) -> OrderedDict[Hashable, None]:
        return self._keys[self._longest]
