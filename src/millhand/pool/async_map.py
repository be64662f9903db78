"""A map for asyncio: `async for value in pool.amap(fn, items)`, lazily, with bounded room, without blocking the loop.

Guarantees
    No more than `buffersize` items are between the source and the consumer. The source is read only while
    somebody iterates. What is left over when the iterator is closed, dropped or fails is cancelled.
    Between two turns of the loop, values are handed out for about a millisecond at most.

Races
    A call that ends against a consumer that is about to wait. The call stores its end, then looks whether the
    consumer waits; the consumer says that it waits, then looks at the ends. So at least one sees the other.

Why no mailbox
    The consumer looks at the ends by itself as long as there are any: the loop is called only when it had to
    wait. Nothing that the calls hold leads to the iterator, so it is collected when the consumer drops it.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

from millhand.core.clock import Seconds
from millhand.pool.admission import Admission
from millhand.pool.attached import Callback
from millhand.pool.bridge import Answer, mailbox_here
from millhand.pool.future import RETURNED, End
from millhand.pool.interrupt import Guard
from millhand.pool.stats import Tally
from millhand.pool.task import Task, monotonic

TURN: Seconds = 0.001
"""How long values are handed out before the loop gets its turn."""

ROOM = 128
"""How many items may be under way by default: enough that a wake-up, 20 to 50 µs, is shared by many calls."""

T = TypeVar("T")
END, NOT_YET = object(), object()


class Arrivals:
    """This is what the calls of one map know of their consumer: whether it waits, and how to wake it."""

    __slots__ = ("_asked", "call", "ended", "ordered", "waiter", "wanted")

    def __init__(self, call: Callable[[Callable[[], object]], object], *, ordered: bool) -> None:
        self.call, self.ordered = call, ordered
        self.ended: deque[Arrival] = deque()
        """Unless `ordered`: what ended and was not taken, in the order of the ends."""
        self.wanted: Arrival | None = None
        """The call for which the consumer waits; unless `ordered`, any will do."""
        self.waiter: asyncio.Future[None] | None = None
        self._asked = False

    def arrive(self, arrival: Arrival) -> None:
        """Called at the end of a call, in any thread."""
        if not self.ordered:
            self.ended.append(arrival)
        wanted = self.wanted
        if wanted is not None and (wanted is arrival or not self.ordered):
            self.wanted = None
            self.call(self.wake)

    async def wait(self, wanted: Arrival | None, crew: Admission) -> None:
        """Wait until there is something to look at: `wanted` has ended, or a place came free, or an item came."""
        self.waiter = asyncio.get_running_loop().create_future()
        self.wanted = wanted  # then look again: see Races
        try:
            if not (self.ended or (wanted is not None and wanted.done())):
                give_back = crew.staff.lend_place()
                try:
                    await self.waiter
                finally:
                    if give_back is not None:
                        give_back()
        finally:
            self.waiter = self.wanted = None

    def ask_for_place(self, crew: Admission) -> None:
        """Have the consumer woken when its crew has room for another call."""
        if not self._asked:
            self._asked = True
            crew.line.ask_for_place(partial(self.call, self._find_place))
            if crew.refusal is not None:  # it may have closed before we asked
                self.call(self._find_place)

    def _find_place(self) -> None:
        self._asked = False
        self.wake()

    def wake(self, _: object = None) -> None:
        """Let the consumer look again; on the loop."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Arrival(Task):
    """This is one call of a map."""

    __slots__ = ("arrivals",)

    arrivals: Arrivals

    def _conclude(self, end: End, value: object) -> Sequence[Callback]:
        callbacks = super()._conclude(end, value)
        self.arrivals.arrive(self)
        return callbacks

    conclude = _conclude

    def perform(self, tally: Tally, guard: Guard | None = None) -> Sequence[Callback] | None:
        """Perform it as any task."""
        callbacks = super().perform(tally, guard)
        if self._end is RETURNED:  # the one end that does not go through `_conclude`
            self.arrivals.arrive(self)
        return callbacks

    def value(self) -> Any:
        """Return what an ended call returned; raise otherwise, as the await of a future does."""
        if self._end is RETURNED:
            return self._value
        answer = Answer()
        answer.settle(self)
        return answer.result()


class AsyncMap(AsyncIterator[T], Generic[T]):
    """This yields the values of calls on the items of a source; made by `amap`, which says what it promises.

    Args:
        make: returns the call for an item, or items: a tuple of arguments.
        crew: who runs them.
        sources: one async iterable, or iterables.
        room: how many items may be under way; None: what suits the crew.
        ordered: whether values come in the order of their items, or as calls end.
    """

    def __init__(
        self,
        make: Callable[[tuple[Any, ...]], Arrival],
        crew: Admission,
        sources: Sequence[Iterable[Any] | AsyncIterable[Any]],
        room: int | None,
        *,
        ordered: bool,
    ) -> None:
        self._under_way: deque[Arrival] | set[Arrival] = deque() if ordered else set()  # first of all, for __del__
        self._pull: asyncio.Task[Any] | None = None
        self._make, self._crew = make, crew
        self._room = max(ROOM, 2 * getattr(crew, "size", 0)) if room is None else checked(room)
        self._arrivals = Arrivals(mailbox_here().call, ordered=ordered)
        self._source, self._async_source = _open(sources)
        self._more = True
        self._error: Exception | None = None
        """What the source raised, or the crew refused an item with: raised when all before it was taken."""
        self._held: Arrival | None = None
        """A call for which there was no place."""
        self._turn_ends = 0.0

    def __aiter__(self) -> AsyncMap[T]:
        return self

    async def __anext__(self) -> T:
        try:
            if self._arrivals.waiter is not None:
                raise RuntimeError("another task waits for the next value of this amap already")
            if self._turn_ends < monotonic():
                await _yield_to_loop()
                self._turn_ends = monotonic() + TURN
            if 2 * len(self._under_way) <= self._room:
                self._fill()
            arrival = self._take() or await self._wait()
            if arrival is None:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            return self._value_of(arrival)
        finally:
            # The traceback of a cancelled consumer holds this frame: it must not keep the iterator from ending.
            del self

    async def aclose(self) -> None:
        """Stop: what waits never runs, what runs is asked to stop. The source is read no more, nor closed."""
        pull = self._pull
        self._cancel_rest()
        if pull is not None:
            await asyncio.wait([pull])

    def __del__(self) -> None:
        self._cancel_rest()

    def _cancel_rest(self) -> None:
        """Cancel what is under way; in any thread, since a finaliser runs where it happens to."""
        self._more, self._held = False, None
        while self._under_way:
            self._under_way.pop().cancel(running=True)
        if self._pull is not None:
            self._arrivals.call(self._pull.cancel)
            self._pull = None

    def _take(self) -> Arrival | None:
        """Take the next call that has ended; None if it has not."""
        under_way, ended = self._under_way, self._arrivals.ended
        if isinstance(under_way, deque):
            return under_way.popleft() if under_way and under_way[0].done() else None
        if not ended:
            return None
        arrival = ended.popleft()
        under_way.discard(arrival)
        return arrival

    def _value_of(self, arrival: Arrival) -> T:
        try:
            return cast("T", arrival.value())
        except BaseException:
            self._cancel_rest()
            raise

    async def _wait(self) -> Arrival | None:
        """Wait for the next call to end, and take it; None if there are no more."""
        try:
            while True:
                self._fill()
                arrival = self._take()
                if arrival is not None or not (self._under_way or self._more):
                    return arrival
                await self._arrivals.wait(next(iter(self._under_way), None), self._crew)
                self._turn_ends = monotonic() + TURN
        finally:
            del self  # as above

    # The source.

    def _fill(self) -> None:
        """Submit items as long as there is room."""
        while self._more and len(self._under_way) < self._room:
            try:
                arrival = self._held or self._draw()
                if arrival is None:
                    return
                if not self._crew.offer(arrival, again=arrival is self._held):
                    self._held = arrival
                    self._arrivals.ask_for_place(self._crew)
                    return
            except Exception as error:  # noqa: BLE001 - the consumer's: it is raised where the item stands
                self._more, self._error = False, error
                return
            self._held = None
            if isinstance(self._under_way, deque):
                self._under_way.append(arrival)
            elif arrival not in self._arrivals.ended:
                self._under_way.add(arrival)

    def _draw(self) -> Arrival | None:
        """Return the call for the next item; None if there is none, or none yet."""
        item: Any = self._next_of_async() if self._async_source is not None else next(self._source, END)
        if item is END:
            self._more = False
        if item is END or item is NOT_YET:
            return None
        arrival = self._make(item)
        arrival.arrivals = self._arrivals
        return arrival

    def _next_of_async(self) -> Any:
        pull = self._pull
        if pull is None:
            pull = self._pull = asyncio.create_task(_next(cast("AsyncIterator[Any]", self._async_source)))
            pull.add_done_callback(self._arrivals.wake)
        if not pull.done():
            return NOT_YET
        self._pull = None
        item = pull.result()
        return item if item is END else (item,)


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source, END)


@types.coroutine
def _yield_to_loop() -> Generator[None, None, None]:
    yield


def checked(room: object) -> int:
    """Return how many items may be under way, if it is a number for that."""
    if not isinstance(room, int) or isinstance(room, bool):
        raise TypeError(f"buffersize must be a whole number or None, got {room!r}")
    if room < 1:
        raise ValueError(f"buffersize must be at least 1, got {room}")
    return room


def _open(
    sources: Sequence[Iterable[Any] | AsyncIterable[Any]],
) -> tuple[Iterator[tuple[Any, ...]], AsyncIterator[Any] | None]:
    """Return an iterator of tuples, or the async one in its place."""
    if any(isinstance(source, AsyncIterable) for source in sources):
        if len(sources) > 1:
            raise TypeError("an async iterable must be the only source of amap; zip them yourself")
        return iter(()), aiter(cast("AsyncIterable[Any]", sources[0]))
    return zip(*cast("Sequence[Iterable[Any]]", sources), strict=False), None
