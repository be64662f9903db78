"""One to many and back: races between calls, work spread over several pools, results put together as they come.

What is promised of all of them: when one returns or raises, what it has submitted and does not need any more is
cancelled: what waits never runs, what runs is asked to stop (`check_cancelled`) and not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import aclosing, closing
from functools import reduce as fold
from hashlib import blake2b
from itertools import cycle, islice
from queue import SimpleQueue
from typing import Any, Literal, TypeAlias, TypeVar, cast

from millhand.core.clock import Seconds
from millhand.flow.station import Call, check_count, error_of, stop_call
from millhand.pool import Pool, PoolView, current_task

T = TypeVar("T")
R = TypeVar("R")

Door: TypeAlias = Pool | PoolView
Key: TypeAlias = str | bytes | int
Route: TypeAlias = "Literal['round_robin', 'least_loaded'] | Callable[[Any], Key]"

ROOM = 256
"""How many futures `gather` holds by default."""

# Races.


def first(pool: Door, calls: Iterable[Callable[[], T]]) -> T:
    """Run all calls at once and return the first result; the others are cancelled.

    Raises:
        ExceptionGroup: all of them failed; it holds what each raised.
        ValueError: there are no calls.
    """
    return quorum(pool, calls, 1)[0]


async def afirst(pool: Door, calls: Iterable[Callable[[], Any]]) -> Any:
    """Do as `first`, for asyncio; with a CoroutinePool, the calls are async functions."""
    return (await aquorum(pool, calls, 1))[0]


def quorum(pool: Door, calls: Iterable[Callable[[], T]], n: int) -> list[T]:
    """Run all calls at once and return the first `n` results, in the order in which they came.

    Raises:
        ExceptionGroup: so many failed that there cannot be `n` results any more; it holds what they raised.
        ValueError: there are fewer calls than `n`, or n is less than 1.
    """
    race = Race(list(calls), n)
    try:
        for call in race.calls:
            race.start(pool.submit(call))
        _watch(race)
    finally:
        race.end()
    return race.results[:n]


async def aquorum(pool: Door, calls: Iterable[Callable[[], Any]], n: int) -> list[Any]:
    """Do as `quorum`, for asyncio; with a CoroutinePool, the calls are async functions."""
    race = Race(list(calls), n)
    try:
        for call in race.calls:
            race.start(pool.run(call))
        await _watch_async(race)
    finally:
        race.end()
    return race.results[:n]


def hedged(pool: Door, call: Callable[[], T], *, after: Seconds, copies: int = 2) -> T:
    """Run a call, and another copy of it whenever there is no result `after` more seconds; return the first result.

    So a slow server costs `after` and the time of a quick one; with `after` at the 95th percentile, one call in
    twenty is made twice (Dean & Barroso, The Tail at Scale, 2013). A copy that fails brings the next one at once.
    The others are cancelled. The call must bear being made several times.

    Raises:
        ExceptionGroup: all copies failed; it holds what each raised.
        ValueError: `after` is no number of seconds above 0, or copies is less than 1.
    """
    race = Race([call] * check_hedge(after, copies), 1)
    try:
        race.start(pool.submit(call))
        while not _watch(race, after if race.started < copies else None):
            race.start(pool.submit(call))
    finally:
        race.end()
    return cast("T", race.results[0])


async def ahedged(pool: Door, call: Callable[[], Any], *, after: Seconds, copies: int = 2) -> Any:
    """Do as `hedged`, for asyncio; with a CoroutinePool, the call is an async function."""
    race = Race([call] * check_hedge(after, copies), 1)
    try:
        race.start(pool.run(call))
        while not await _watch_async(race, after if race.started < copies else None):
            race.start(pool.run(call))
    finally:
        race.end()
    return race.results[0]


def _watch(race: Race, patience: Seconds | None = None) -> bool:
    """Wait for a race; with `patience`, no longer than that, nor longer than the first failure. Is it over?"""
    while not race.is_over():
        race.note(wait(cast("set[Future[Any]]", race.under_way), patience, FIRST_COMPLETED).done)
        if patience is not None:
            return race.is_over()
    return True


async def _watch_async(race: Race, patience: Seconds | None = None) -> bool:
    while not race.is_over():
        pending = cast("set[asyncio.Future[Any]]", race.under_way)
        race.note((await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED))[0])
        if patience is not None:
            return race.is_over()
    return True


class Race:
    """This is what is known of calls of which `n` are to succeed.

    Raises:
        ValueError: there are not that many.
    """

    def __init__(self, calls: Sequence[Callable[[], Any]], n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= len(calls):
            raise ValueError(
                f"of {len(calls)} calls {n!r} cannot succeed; give more calls, or n from 1 to their number"
            )
        self.calls, self._n = calls, n
        self.started = 0
        self.under_way: set[Call] = set()
        self.results: list[Any] = []
        self._errors: list[BaseException] = []

    def start(self, call: Call) -> None:
        """Note a call that was submitted."""
        self.under_way.add(call)
        self.started += 1

    def note(self, ended: Iterable[Call]) -> None:
        """Note calls that have ended."""
        for call in ended:
            self.under_way.discard(call)
            error = error_of(call)
            if error is not None:
                self._errors.append(error)
            else:
                self.results.append(call.result())

    def is_over(self) -> bool:
        """Return whether enough have succeeded. Raises the errors if enough cannot succeed any more."""
        if len(self.calls) - len(self._errors) < self._n:
            raise BaseExceptionGroup(f"{len(self._errors)} of {len(self.calls)} calls failed", self._errors)
        return len(self.results) >= self._n

    def end(self) -> None:
        """Cancel what is not needed any more."""
        while self.under_way:
            stop_call(self.under_way.pop())


def check_hedge(after: object, copies: object) -> int:
    """Return how many copies there may be; raise ValueError unless both are what they should be."""
    if not isinstance(after, int | float) or isinstance(after, bool) or not after > 0:
        raise ValueError(f"after must be a number of seconds above 0, got {after!r}")
    check_count("copies", copies)
    return cast("int", copies)


# Over several pools, and back.


def scatter(
    pools: Mapping[str, Door] | Sequence[Door],
    fn: Callable[[Any], R],
    items: Iterable[Any],
    *,
    by: Route = "round_robin",
) -> Iterator[Future[R]]:
    """Submit `fn` with each item to one of several pools; yield the futures, in the order of the items.

    Each item is submitted when its future is asked for, so `gather` bounds how many are under way.

    Args:
        pools: where to; by name, if `by` is a key: then a pool that is added or removed moves only its own keys. In
            a sequence, their numbers are the names.
        fn: what is called; an async function for pools of coroutines.
        items: may be endless.
        by: "round_robin": one pool after the other. "least_loaded": the pool with the most workers free, or with the
            fewest calls waiting if none has any; it costs a look at the stats of each pool per item. A function: it
            gives an item's key, and equal keys go to the same pool (`rendezvous`), also in another process.

    Raises:
        ValueError: there are no pools, or one that cannot tell its load, or `by` is none of these.
    """
    choose = _chooser(pools, by)
    return (choose(item).submit(fn, item) for item in items)


def gather(futures: Iterable[Future[R]], *, ordered: bool = True, buffersize: int = ROOM) -> Generator[R, None, None]:
    """Yield the results of futures, in their order or as they end; at most `buffersize` are taken ahead.

    A future is taken when there is room for it, so what makes them (`scatter`) may be endless. An error is raised in
    its place; then, and when the iterator is closed or dropped, those that were taken are cancelled.

    Raises:
        ValueError: buffersize is no whole number of at least 1.
    """
    check_count("buffersize", buffersize)
    return _gather(iter(futures), buffersize, ordered=ordered)


def _gather(futures: Iterator[Future[R]], room: int, *, ordered: bool) -> Generator[R, None, None]:
    pending: dict[Future[R], None] = {}
    ended: SimpleQueue[Future[R]] = SimpleQueue()
    try:
        while True:
            for future in islice(futures, room - len(pending)):
                pending[future] = None
                if not ordered:
                    future.add_done_callback(ended.put)
            if not pending:
                return
            if not ordered and current_task() is not None:
                wait(pending, return_when=FIRST_COMPLETED)  # its pool sees this, and has somebody stand in
            future = next(iter(pending)) if ordered else ended.get()
            result = [future.result()]
            del pending[future], future
            yield result.pop()  # nothing here may hold it meanwhile
    finally:
        for left in pending:
            stop_call(left)


def ascatter(
    pools: Mapping[str, Door] | Sequence[Door],
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    by: Route = "round_robin",
) -> Iterator[asyncio.Future[Any]]:
    """Do as `scatter`, for asyncio: where a pool is full, the loop is not blocked."""
    choose = _chooser(pools, by)
    return (choose(item).run(fn, item) for item in items)


async def agather(
    futures: Iterable[asyncio.Future[R]], *, ordered: bool = True, buffersize: int = ROOM
) -> AsyncGenerator[R, None]:
    """Do as `gather`, for asyncio; what it raises, it raises when it is iterated."""
    check_count("buffersize", buffersize)
    source = iter(futures)
    pending: dict[asyncio.Future[R], None] = {}
    ended: asyncio.Queue[asyncio.Future[R]] = asyncio.Queue()
    try:
        while True:
            for future in islice(source, buffersize - len(pending)):
                pending[future] = None
                if not ordered:
                    future.add_done_callback(ended.put_nowait)
            if not pending:
                return
            future = next(iter(pending)) if ordered else await ended.get()
            result = [await future]
            del pending[future], future
            yield result.pop()
    finally:
        for left in pending:
            stop_call(left)


def rendezvous(key: Key, names: Iterable[str]) -> str:
    """Return the name that a key belongs to: the same in every process, and evenly spread.

    When a name is added or removed, only the keys that go to it or come from it move (highest random weight:
    Thaler & Ravishankar, 1998). It costs a hash per name, about 1 µs.

    Raises:
        ValueError: there are no names, or the key is no str, bytes or int.
    """
    if isinstance(key, str):
        text = b"s" + key.encode(errors="surrogatepass")
    elif isinstance(key, bytes):
        text = b"b" + key
    elif isinstance(key, int):
        text = b"i%d" % key
    else:
        raise ValueError(f"a key must be a str, bytes or int, so that every process hashes it alike, got {key!r}")
    start = blake2b(text, digest_size=8)

    def weight(name: str) -> tuple[bytes, str]:
        hashed = start.copy()
        hashed.update(b"\0" + name.encode(errors="surrogatepass"))
        return hashed.digest(), name

    name = max(names, key=weight, default=None)
    if name is None:
        raise ValueError("there is nobody to choose from; give at least one name")
    return name


def _chooser(pools: Mapping[str, Door] | Sequence[Door], by: Route) -> Callable[[Any], Door]:
    """Return what chooses a pool for an item."""
    doors = dict(pools) if isinstance(pools, Mapping) else {str(number): each for number, each in enumerate(pools)}
    if not doors:
        raise ValueError("there are no pools to scatter over; give at least one")
    if by == "round_robin":
        turns = cycle(doors.values())
        return lambda _: next(turns)
    if by == "least_loaded":
        for door in doors.values():
            if not isinstance(door, Pool):
                raise ValueError(f"by='least_loaded' needs pools, which can tell their load, got {door!r}")
        loaded = cast("Sequence[Pool]", tuple(doors.values()))
        return lambda _: min(loaded, key=_load)
    if callable(by):
        return lambda item: doors[rendezvous(by(item), doors)]
    raise ValueError(f"by must be 'round_robin', 'least_loaded' or a function that gives an item's key, got {by!r}")


def _load(pool: Pool) -> int:
    """Return how many calls wait; below zero, how many workers are free."""
    return pool.stats().waiting - pool.idle


# Aggregation.


def reduce(pool: Door, fn: Callable[[Any], T], items: Iterable[Any], combine: Callable[[R, T], R], initial: R) -> R:
    """Run `fn` on each item and combine the results as they come: `combine(combine(initial, a), b)` and so on.

    They come in any order. No more of them are kept than calls may wait in the pool. `combine` runs in this thread.
    An error of `fn`, `items` or `combine` is raised, and the rest is cancelled.
    """
    with closing(pool.map(fn, items, ordered=False)) as results:
        return fold(combine, results, initial)


async def areduce(
    pool: Door,
    fn: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    combine: Callable[[R, Any], R],
    initial: R,
) -> R:
    """Do as `reduce`, for asyncio."""
    async with aclosing(pool.amap(fn, items, ordered=False)) as results:
        async for result in results:
            initial = combine(initial, result)
    return initial
