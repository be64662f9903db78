"""What carries the items of one run: it reads the source, waits, and hands the results out in order or as they come.

Guarantees:
    No more than `room` items are between the source and the consumer, wherever a slow stage makes them wait: the
    source is read again only for what was taken (CONWIP: Spearman, Woodruff, Hopp, 1990). One bound for all stages
    keeps busy whichever is the slowest, and no station ever has to wait for room in the next one.
    The source is read only by the consumer, in its thread or task. A result that is there waits for it no longer than
    a moment and one item.

Races:
    A slot that ends against a consumer that is about to wait. The consumer hangs up a bell, then looks whether there
    is something to do; who has something for it stores that, then looks for a bell. Each bell is taken off by one C
    call and is rung once. Who rings may do so late, so the consumer looks again whenever it is woken.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, cast

from millhand.core.clock import Seconds
from millhand.core.errors import StageError, TaskCancelled
from millhand.flow.station import END, INDEX, VALUE, Call, Slot, Station
from millhand.pool import Future, current_task

PASSED = object()
"""How a slot ended that went through all stages; one that failed has its StageError there."""

GRACE: Seconds = 1.0
"""How long a run that ends early waits for calls that were asked to stop."""

TURN: Seconds = 0.001
"""How long results are handed out before an event loop gets its turn."""

MOMENT: Seconds = 0.0001
"""How long the source is read while a result is there: enough for some hundred items, if it is a quick one."""

LAST = object()


class Conveyor:
    """This is one run under way.

    Args:
        name: of the run, for messages.
        pools: left when it ends: those that are only for it.
        room: how many items may be between the source and the consumer.
        ordered: whether results come in the order of their items.
    """

    def __init__(self, name: str, pools: ExitStack, *, room: int, ordered: bool) -> None:
        self._name, self._pools, self._room = name, pools, room
        self.stations: Sequence[Station] = ()
        self.stopped = self.draining = False
        self.received = self._taken = 0
        """How many items were read, and how many of these have left."""
        self._ordered = ordered
        self._ended: deque[Slot] = deque()
        """What has ended and was not taken; if `ordered`, all that was not taken, in order."""
        self._head: Slot | None = None
        """Whose end rings the bell; None: every one's."""
        self._bells: deque[Callable[[], object]] = deque()
        self._needy: set[Station] = set()
        self._source: Iterator[Any] = iter(())
        self._pulls: Pulls | None = None
        """The source, if it is an async one."""
        self._exhausted = False
        self._verdict: Exception | None = None
        """What the source has raised: raised again behind the results of all that was read before."""
        self.call: Callable[..., Call] = _submit

    # For stations, and for who stops it, in any thread.

    hungry = False
    """It takes what it is given, and sends nobody for more."""

    def feed(self) -> None:
        """Do nothing: see `hungry`."""

    def take(self, slot: Slot) -> None:
        """Take a slot that has passed the last station."""
        slot[END] = PASSED
        if not self._ordered:
            self._ended.append(slot)
        if self._bells:
            self._ring(slot)

    def fail(self, slot: Slot, stage: str, error: BaseException) -> None:
        """Take a slot off, with what was raised at a stage."""
        failure = StageError(stage, slot[VALUE], slot[INDEX])
        trace = error.__traceback__
        failure.__cause__ = error.with_traceback(trace and (trace.tb_next or trace))
        slot[VALUE], slot[END] = None, failure
        if not self._ordered:
            self._ended.append(slot)
        if self._bells:
            self._ring(slot)

    def ask(self, station: Station) -> None:
        """Have the consumer attend to a station."""
        self._needy.add(station)
        self._ring(None)

    def drain(self) -> None:
        """Let the consumer read no more."""
        self.draining = True
        self._ring(None)

    def cancel(self) -> None:
        """Stop everything; the consumer gets TaskCancelled. May be called again."""
        self.stop()
        self._ring(None)

    def stop(self) -> None:
        """Let nothing begin any more, and ask what runs to stop."""
        self.stopped = True
        for station in self.stations:
            station.stop()

    def _ring(self, slot: Slot | None) -> None:
        if slot is None or self._head is None or self._head is slot:
            with suppress(IndexError):  # nobody waits (any more)
                self._bells.pop()()

    # For the consumer, in a thread or a task.

    def results(self, source: Iterable[Any], sink: Callable[[StageError], object]) -> Generator[Any, None, None]:
        """Do it all; yield the results, and give the sink what failed."""
        ended, half = self._ended, self._room // 2
        with self._pools:
            try:
                self._source = iter(source)
                while self._goes_on():
                    self._fill()
                    slot = self._take()
                    if slot is None:
                        self._wait()
                    elif slot[END] is PASSED:
                        yield slot.pop(VALUE)  # nothing here may hold it meanwhile
                    else:
                        sink(slot.pop())
                    # The same in short, as long as it can be: this is half of what an item costs.
                    until = self.received - half
                    while ended and ended[0][END] is PASSED and self._taken < until and not self.stopped:
                        self._taken += 1
                        yield ended.popleft().pop(VALUE)
            except BaseException:
                self.stop()
                wait(cast("set[Future[Any]]", self._calls()), timeout=GRACE)
                raise

    async def async_results(
        self, source: Iterable[Any] | AsyncIterable[Any], sink: Callable[[StageError], object]
    ) -> AsyncIterator[Any]:
        """Do it all, as `results`, without blocking the loop."""
        self.call = _run
        try:
            if isinstance(source, AsyncIterable):
                self._pulls = Pulls(aiter(source), partial(self._ring, None))
                self._source = self._pulls
            else:
                self._source = iter(source)
            turn_ends = monotonic() + TURN
            while self._goes_on():
                if monotonic() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = monotonic() + TURN
                self._fill()
                slot = self._take()
                if slot is None:
                    await self._wait_async()
                elif slot[END] is PASSED:
                    yield slot.pop(VALUE)
                else:
                    sink(slot.pop())
        except BaseException:
            self.stop()
            raise
        finally:
            await self._see_off()
            await asyncio.to_thread(self._pools.__exit__, *sys.exc_info())

    def _goes_on(self) -> bool:
        """Return whether there is more to come. Raises what is to be raised instead."""
        if self.stopped:
            raise TaskCancelled(self._name)
        if not self._is_all():
            return True
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            raise verdict
        return False

    def _room_left(self) -> int:
        """Return how many items may be read now; if a result is there, none before half of the room is free."""
        if self._exhausted or self.draining:
            return 0
        room = self._room - self.received + self._taken
        return room if 2 * room > self._room or not self._has_ended() else 0

    def _fill(self) -> None:
        """Read the source until there is no room, or a result has come; if one is there, a moment is enough."""
        room, before, ended, first = self._room_left(), self.received, self._ended, self.stations[0]
        take, ordered = first.take, self._ordered
        ready, until = self._has_ended(), monotonic() + MOMENT
        try:
            for item in islice(self._source, room):
                slot = [item, self.received, None]
                self.received += 1
                if ordered:
                    ended.append(slot)
                take(slot)
                if first.hungry:
                    first.feed()
                if self.draining or (monotonic() > until if ready else ended and ended[0][END] is not None):
                    return
            if self.received - before < room:
                self._exhausted = self._pulls is None or self._pulls.over
        except Exception as error:  # noqa: BLE001 - the source's own; it stands behind the items before it
            self._verdict, self._exhausted = error, True

    def _take(self) -> Slot | None:
        """Return the next slot that has ended; None if it has not."""
        while self._needy:
            self._needy.pop().attend()
        if not self._has_ended() or self.stopped:  # in this order: what was stopped fails, which is nobody's news
            return None
        self._taken += 1
        return self._ended.popleft()

    def _has_ended(self) -> bool:
        return bool(self._ended) and self._ended[0][END] is not None

    def _has_news(self) -> bool:
        """Return whether there is no reason to wait."""
        if self._has_ended() or self._needy or self.stopped or (self._pulls is not None and self._pulls.have_one()):
            return True
        return self._is_all()

    def _is_all(self) -> bool:
        """Return whether nothing is under way, nor will be."""
        return self.received == self._taken and (self._exhausted or self.draining)

    def _hang_up(self, bell: Callable[[], object]) -> bool:
        """Hang a bell up for what the consumer waits for; False if there is no need."""
        self._head = self._ended[0] if self._ordered and self._ended else None
        self._bells.append(bell)
        return not self._has_news()  # only after the append: see Races

    def _wait(self) -> None:
        if current_task() is not None:
            self._wait_in_a_call()
            return
        bell = threading.Lock()
        bell.acquire()
        bell.acquire(timeout=-1 if self._hang_up(bell.release) else 0)
        self._bells.clear()

    def _wait_in_a_call(self) -> None:
        """Wait so that the pool sees it, in a worker that the stages may need."""
        bell: Future[None] = Future()
        patience = None if self._hang_up(partial(bell.set_result, None)) else 0
        wait({bell, *cast("set[Future[Any]]", self._calls())}, patience, FIRST_COMPLETED)
        self._bells.clear()

    async def _wait_async(self) -> None:
        loop, bell = asyncio.get_running_loop(), asyncio.Event()
        try:
            if self._hang_up(partial(_set_on, loop, bell)):
                await bell.wait()
        finally:
            self._bells.clear()

    async def _see_off(self) -> None:
        """Wait for what was asked to stop, for a while."""
        calls = [call if asyncio.isfuture(call) else asyncio.wrap_future(cast("Any", call)) for call in self._calls()]
        if self._pulls is not None and self._pulls.task is not None:
            self._pulls.task.cancel()
            calls.append(self._pulls.task)
        if calls:
            await asyncio.wait(calls, timeout=GRACE)

    def _calls(self) -> set[Call]:
        return {call for station in self.stations for call in tuple(station.calls)}


def _submit(pool: Any, fn: Callable[..., Any], *args: Any) -> Call:
    return cast("Call", pool.submit(fn, *args))


def _run(pool: Any, fn: Callable[..., Any], *args: Any) -> Call:
    return cast("Call", pool.run(fn, *args))


def _set_on(loop: asyncio.AbstractEventLoop, bell: asyncio.Event) -> None:
    with suppress(RuntimeError):  # it is closed: nobody waits there any more
        loop.call_soon_threadsafe(bell.set)


class Pulls:
    """This reads an async source ahead, by one item: an iterator that ends where it would have to wait, for now.

    Args:
        source: what to read.
        ring: called when there is something to look at.
    """

    def __init__(self, source: AsyncIterator[Any], ring: Callable[[], object]) -> None:
        self._source, self._ring = source, ring
        self.task: asyncio.Task[Any] | None = None
        self.over = False
        """The source has no more."""

    def __iter__(self) -> Pulls:
        return self

    def __next__(self) -> Any:
        if self.task is None:
            self.task = asyncio.create_task(self._pull())
            self.task.add_done_callback(lambda _: self._ring())
        if not self.task.done():
            raise StopIteration
        task, self.task = self.task, None
        item = task.result()
        if item is LAST:
            self.over = True
            raise StopIteration
        return item

    def have_one(self) -> bool:
        """Return whether there is something to look at."""
        return self.task is not None and self.task.done()

    async def _pull(self) -> Any:
        return await anext(self._source, LAST)
