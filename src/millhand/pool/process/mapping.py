"""A `map` whose items travel to processes in frames, as many in each as a millisecond or two are worth.

The items stand in blocks, as they were read. Carriers (`pool.carrier`) cut spans from them: how long, they find out
from how long the last ones took. Results come back by spans, and wait for the consumer in the block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from millhand.core.clock import Seconds
from millhand.pool.carried import Carried
from millhand.pool.carrier import TURN, Carrier
from millhand.pool.future import CANCELLED, End
from millhand.pool.process.frames import ITEMS, Block, Raised, Sound, Span
from millhand.pool.process.luggage import call_item_with
from millhand.pool.process.packed import name_of
from millhand.pool.process.parcel import pack
from millhand.pool.process.sheet import SLOTS
from millhand.pool.source import Plan, Site, Source
from millhand.pool.stats import QUICK, Tally
from millhand.pool.task import monotonic
from millhand.pool.worker import Worker

if TYPE_CHECKING:
    from millhand.pool.process.crew import ProcessCrew
    from millhand.pool.process.minder import Minder

GROWTH = 8
"""How many times as long the next span may be, or as much may be read at once."""


class MappedInProcesses(Carried):
    """This is such a map; see Carried."""

    def __init__(self, site: Site, fn: Callable[[Any], Any], source: Source, plan: Plan, name: str) -> None:
        super().__init__(site, fn, source, plan, name)
        pack(fn, lambda: name_of(fn))  # raises now what would be raised for each item
        luggage = cast("ProcessCrew", self._staff).luggage
        values = luggage.values() if luggage else ()
        if values:
            self._fn = partial(call_item_with, values, fn)
        self._blocks: deque[tuple[Block, int, int]] = deque()
        """What nobody has begun: a block, from where, to where."""
        self._ends: deque[list[Any]] | None = None if plan.ordered else deque()
        self._length = 1
        """How many items make the next span."""
        self._stride = 1
        """How many items are read at once."""
        self._under_way = 0
        self._stopped = False

    # For the consumer.

    def start(self) -> Generator[Any, None, None]:
        """Have the first items done; return the iterator of results."""
        self.crew.guests.add(self)
        self.fit()
        blocks: deque[Block] = deque()
        try:
            while self._has_room():
                self._read(blocks)
        except BaseException:
            self._stop()
            raise
        return self._in_blocks(blocks) if self._ends is None else self._by_spans(self._ends, blocks)

    def _has_room(self) -> bool:
        return self._room - self._under_way >= min(self._stride, self._room // 8 or 1) and self._door is not None

    def _read(self, blocks: deque[Block]) -> None:
        """Read items if there is room for some: until there is none, or the source turns out to be slow."""
        quick = True
        while quick and self._has_room():
            began = monotonic()
            items = self._source.read(min(self._stride, self._room - self._under_way))
            quick = monotonic() - began < QUICK
            self._stride = min(GROWTH * self._stride, SLOTS) if quick else 1
            if not items:
                self._door = None
                return
            block = Block(items, began)
            self._under_way += len(items)
            blocks.append(block)
            self._blocks.append((block, 0, len(items)))
            if not self.carriers:
                self.send_carrier()  # it raises if nobody can come
            self.send_carriers()

    def _in_blocks(self, blocks: deque[Block]) -> Generator[Any, None, None]:
        try:
            while blocks:
                block = blocks.popleft()
                n, size = 0, len(block.items)
                while n < size:
                    if n not in block.ended:
                        self._wait(lambda: n in block.ended)  # noqa: B023 - it is called before they change
                    results = block.ended.pop(n)
                    n += len(results)
                    yield from self._hand_out(results, blocks)
            self._source.raise_verdict()
        except BaseException:
            self._stop()
            raise

    def _by_spans(self, ends: deque[list[Any]], blocks: deque[Block]) -> Generator[Any, None, None]:
        try:
            while self._under_way:
                blocks.clear()
                if not ends:
                    self._wait(lambda: bool(ends))
                yield from self._hand_out(ends.popleft(), blocks)
            self._source.raise_verdict()
        except BaseException:
            self._stop()
            raise

    def _hand_out(self, results: list[Any], blocks: deque[Block]) -> Generator[Any, None, None]:
        """Yield results; before the last of them, read on."""
        last = [results.pop()]
        self._under_way -= len(results)
        if type(results) is Sound:
            yield from results
        else:
            results.reverse()
            while results:
                if type(results[-1]) is Raised:
                    raise results.pop().error
                yield results.pop()  # nothing here may hold the result meanwhile
        self._under_way -= 1
        self._read(blocks)
        if type(last[0]) is Raised:
            raise last.pop().error
        yield last.pop()

    # For the crew.

    def has_waiting(self) -> bool:
        """Return whether there is an item that nobody has begun."""
        return bool(self._blocks)

    def backlog(self) -> int:
        """Return for how many workers there are items that nobody has begun."""
        return sum(stop - start for _, start, stop in tuple(self._blocks))

    def carry(self, carrier: Carrier, tally: Tally, worker: Worker) -> bool:
        """Do one span after the other."""
        shift = Shift(self, self._fn, carrier, tally, cast("Minder", worker))
        span: Span | None = None
        while True:
            span = (span and span.following) or self.cut(shift)
            if span is None:
                if carrier.enough or self.go_home(carrier):
                    return True
                continue
            shift.begin(span)
            took, done = shift.minder.run(span)
            if done < span.size:
                span.cut(done)
            self._learn(took, done)
            if shift.is_over():
                if self.hand_over(carrier, worker):
                    span.drop_following()
                    return not worker.written_off
                shift.go_on()

    def _learn(self, took: Seconds | None, done: int) -> None:
        """See how long the next span should be."""
        if not done:  # maybe it cannot be read there: then item by item
            self._length = 1
        elif took is not None:
            length = int(ITEMS * done / took)
            self._length = max(1, self._length // 2, min(GROWTH * self._length, length, SLOTS))

    def cut(self, shift: Shift, *, spare: int = 0) -> Span | None:
        """Take as many items as make a span; None if there are none, or no more than as many spans to spare."""
        with self._sending:
            if not self._blocks or (spare and self.backlog() <= spare * self._length):
                return None
            block, start, stop = self._blocks.popleft()
            most = min(SLOTS, shift.minder.allowance)
            length = min(self._length, most)
            end = stop if stop - start <= min(length + length // 2, most) else start + length
            if end < stop:
                self._blocks.appendleft((block, end, stop))
        return Span(shift, block, start, end)

    def put_back(self, block: Block, start: int, stop: int) -> None:
        """Have items wait again that a process did not come to."""
        with self._sending:
            if self._stopped:
                return
            self._blocks.appendleft((block, start, stop))
        if self._source.verdict is not None:  # it was ended while these were on their way
            self._end_waiting(CANCELLED, None)
        self.send_carriers()

    def end(self, carrier: Carrier, tally: Tally, block: Block, start: int, results: list[Any]) -> None:
        """Count results, and show them to the consumer."""
        now = monotonic()
        tally.time(carrier, now, len(results))
        tally.mark = now
        tally.done += len(results)
        if type(results) is not Sound:
            errors = [result.error for result in results if type(result) is Raised]
            tally.done -= len(errors)
            for error in errors:
                self._count_failure(carrier, tally, error)
        block.ended[start] = results
        if self._ends is not None:
            self._ends.append(results)
        self._wake()

    def _wake(self) -> None:
        with suppress(IndexError):  # the consumer is awake, and will look
            self._bells.pop().release()

    def _stop(self) -> None:
        with self._sending:
            self._stopped = True
            self._blocks.clear()
        super()._stop()

    def _end_waiting(self, end: End, value: object) -> None:
        with self._sending:
            waiting = tuple(self._blocks)
            self._blocks.clear()
        error = CancelledError() if end is CANCELLED else cast("BaseException", value)
        for block, start, stop in waiting:
            results: list[Any] = [Raised(error) for _ in range(start, stop)]
            block.ended[start] = results
            if self._ends is not None:
                self._ends.append(results)
            self._wake()


class Shift:
    """This is the work of one carrier in one worker; see Owner."""

    def __init__(
        self, work: MappedInProcesses, fn: Callable[[Any], Any], errand: Carrier, tally: Tally, minder: Minder
    ) -> None:
        self.fn, self.errand, self.minder = fn, errand, minder
        self._map, self._tally = work, tally
        self._ends_at = 0.0
        self.go_on()

    def go_on(self) -> None:
        """Have another turn."""
        self._ends_at = 0.0 if self.errand.enough else monotonic() + TURN

    def is_over(self) -> bool:
        """Return whether the turn is over."""
        return self.minder.attention or monotonic() > self._ends_at

    def begin(self, span: Span) -> None:
        """Count its items as begun."""
        span.has_begun = True
        self._tally.pulled += span.size
        self._tally.started += span.size
        self.errand.submitted_at = span.block.read_at

    def end(self, span: Span, start: int, results: list[Any]) -> None:
        """Count results, and show them to the consumer."""
        if results:
            self._map.end(self.errand, self._tally, span.block, span.start + start, results)

    def give_back(self, span: Span, start: int, stop: int) -> None:
        """Have some of its items done by somebody else."""
        if span.has_begun:
            self._tally.pulled -= stop - start
            self._tally.started -= stop - start
        self._map.put_back(span.block, start, stop)

    def look_ahead(self) -> Span | None:
        """Return another span, if there are enough for all."""
        return self._map.cut(self, spare=self._map.limit)
