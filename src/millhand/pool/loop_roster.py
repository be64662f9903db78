"""Who has a place on an asyncio loop: a loop of the pool's own, in a thread, or one that runs already.

Guarantees:
    At most `size` calls are under way, besides those that wait for others of their own pool, those that were
    written off, and those that a full pool's submitters wait for (`caller_runs`).

Threads:
    Whatever says "on the loop" touches places and runs only there. Submitters, the timer and whoever resizes
    touch the line, the books and plain flags, and have the loop called. `_starting` makes them agree on one loop.

Races:
    Submit against a loop that has nothing to do. Submit puts, then looks whether it must call the loop
    (`_short`); a place that found nothing sets `_short`, then looks again. So at least one sees the other. While
    a call runs that did not suspend yet, nobody is called: its place looks for itself.

Shutdown:
    1. `close`: refuse work; cancel what waits, if asked to. 2. Places finish what waits. 3. When none is at work
    any more, they leave; the timers stop, and the loop's thread ends, after it has cancelled the tasks that
    calls have left behind. 4. `join` waits for that.
"""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import SimpleQueue
from typing import Any, cast
from weakref import ref

from millhand.core.clock import Seconds, SystemClock
from millhand.core.events import PoolResized, WorkerHired, WorkerLeft
from millhand.pool import interpreter_exit
from millhand.pool.admission import CLOSED, Admission
from millhand.pool.current import here
from millhand.pool.future import running_loop
from millhand.pool.options import Settings
from millhand.pool.place import Place
from millhand.pool.queues import Item, Line
from millhand.pool.stats import PoolStats, Tally, summary
from millhand.pool.task import Task, call_back, monotonic
from millhand.pool.timers import Timers

LAST_GRACE: Seconds = 1.0
"""How long what calls have left behind on the pool's own loop may take to be cancelled, when the pool has ended."""


class LoopRoster(Admission):
    """This is the part of a crew of coroutines that knows who is in it.

    Args:
        pool: referred to weakly only; when it is collected, the crew finishes what waits and leaves.
        size: how many calls may be under way.
        name: the thread is called so, the places `<name>_<number>`.
        settings: the rest.
    """

    def __init__(self, pool: object, size: int, name: str, settings: Settings) -> None:
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.tally = Tally()
        """One for all places: they take turns in one thread."""
        self._size, self._name = size, name
        self.paused = False
        line = Line.of(settings, self.items, size, taken=lambda: self.tally.taken, ended=self._ended)
        super().__init__(line, Timers(SystemClock(), f"{name}_timer"), settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._over = asyncio.Event()
        self._departed = threading.Event()
        self._places: set[Place] = set()
        self._stuck: set[Place] = set()
        self._away: set[Place] = set()
        """Those whose calls await others of this crew: as many more may be under way."""
        self._idle: list[Place] = []
        self._extra: set[Place] = set()
        """Those of calls that run without having a place, one each."""
        self._beside: set[Task] = set()
        """The calls for which these are yet to come."""
        self._under_way: dict[Task, Place] = {}
        """The calls that have suspended."""
        self._hired = 0
        self._attention = False
        """A place must ask before it takes another task."""
        self._pool = ref(pool, lambda _: self._tell(self._muster))

    @property
    def staff(self) -> LoopRoster:
        """The crew whose places run the tasks: this one."""
        return self

    def stats(self) -> PoolStats:
        """Return one look at everything that was counted."""
        crew = [*self._places, *self._stuck]
        stuck = len(self._stuck)
        return summary(self.books, [self.tally], self.line.admitted, crew, workers=len(crew) - stuck, written_off=stuck)

    def is_over(self) -> bool:
        """Return whether places are to go when nothing waits any more."""
        return self.refusal is not None or interpreter_exit.is_near() or self._pool() is None

    @abstractmethod
    async def _serve(self, place: Place) -> None:
        """Take what waits and run it, until the place is to leave."""

    @abstractmethod
    async def _serve_one(self, place: Place, task: Task) -> None:
        """Run one task."""

    # Where the loop is.

    def attach(self) -> None:
        """Run calls on the loop that runs here, not in a thread. Raises RuntimeError if that is settled already."""
        with self._starting:
            if self._loop is not None:
                raise RuntimeError(
                    "this pool has run calls on a loop already; enter `async with` before the first submit, and once"
                )
            self._loop = asyncio.get_running_loop()

    def _start(self) -> None:
        with self._starting:
            if self._loop is not None:
                return
            if self.refusal is not None:
                raise self.refusal()  # `join` may have returned: nobody must come any more
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=self._host, args=(loop,), name=self._name, daemon=True)
            try:
                interpreter_exit.start(thread, cast("SimpleQueue[Any]", _Bell(self)))
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread = loop, thread

    def _host(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._until_over())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            self.timers.stop()
            self._departed.set()
            self._send_away()

    def _send_away(self) -> None:
        """End the tasks whose submitters wait for a loop that is gone."""
        for task in tuple(self._beside):
            self._beside.discard(task)
            if task.claim_waiting():
                self.books.failed_waiting.add()
                call_back(task, task.end_early((self.refusal or CLOSED)()))

    async def _until_over(self) -> None:
        await self._over.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            _, stuck = await asyncio.wait(left, timeout=LAST_GRACE)
            for task in stuck:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it was told, and counted
        loop = asyncio.get_running_loop()
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    def wake(self) -> None:
        """Have the crew look how things are; from any thread."""
        self._tell(self._muster)

    def none_is_held(self) -> None:
        """Have the places leave if they stayed only for calls that were parked."""
        if self.is_over():
            self.wake()

    def _tell(self, function: Callable[..., object], *args: Any) -> bool:
        """Have a function called on the loop, from any thread; False if it is closed, or there is none yet."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # closed: it has left nothing to be told of
            return False
        return True

    # Ending and resizing; from any thread.

    def close(self, *, cancel: bool) -> None:
        """Take no more work, cancel what waits if told to, let everybody leave; idempotent."""
        with self._starting:
            self.refusal = self.refusal or CLOSED
            if self._loop is None:  # then there never will be one, and nobody else to do it
                self.timers.stop()
        self.paused = False
        super().close(cancel=cancel)
        self._tell(self._muster)

    def cancel_running(self) -> None:
        """Cancel all calls that have suspended."""
        self._tell(lambda: [task.cancel(running=True) for task in tuple(self._under_way)])

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until every place has left; False if some have not after `timeout`.

        Raises:
            RuntimeError: on the loop, which it would block.
        """
        if self._loop is None:
            return True
        if running_loop() is self._loop:
            raise RuntimeError("this would block the pool's own loop: leave its `async with`, or call it in a thread")
        if not self._departed.wait(timeout):
            return False
        if self._thread is not None:
            self._thread.join()
        self.timers.join()
        return True

    async def join_here(self, timeout: Seconds | None = None) -> bool:
        """Wait, on its loop, until every place has left; False if some have not after `timeout`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), timeout)
        return self._over.is_set()

    def abandon(self) -> None:
        """Let the interpreter end without those who still run."""
        if self._thread is not None:
            interpreter_exit.forget(self._thread)

    @property
    def size(self) -> int:
        """How many calls may be under way at once."""
        return self._size

    def resize(self, size: int) -> None:
        """Change how many calls may be under way; a running call is never interrupted for it."""
        changes, self._size = size != self._size, size
        if self._hands_over:
            self.line.resize(size)
        self._attention = True
        self._tell(self._muster)
        if changes and self.listeners:
            self.listeners.tell(PoolResized(size))

    def pause(self) -> None:
        """Start no more tasks until `resume`; those that run go on."""
        self.paused = self.refusal is None
        self._attention = True

    def resume(self) -> None:
        """Start tasks again."""
        self.paused = False
        self._tell(self._muster)

    # Who works; on the loop.

    def _muster(self) -> None:
        """Have somebody take what waits, if anybody is free; that one calls the next when it suspends."""
        if self._attention:
            self._thin_out()
        if self._is_held():
            return
        if self.items.empty():
            self._short = True  # then look again: see Races
            if self.items.empty():
                self._look_for_the_end()
                return
            self._short = False
        if self._idle:
            self._wake(self._idle[-1])
        elif len(self._places) < self.size + len(self._away):
            self._hire()

    def _is_held(self) -> bool:
        return self.paused and not self.is_over()

    def _surplus(self) -> int:
        return len(self._places) - self.size - len(self._away)

    def _thin_out(self) -> None:
        while self._idle and self._surplus() > 0:
            self._dismiss(self._idle[0])

    def _hire(self, first: Task | None = None) -> None:
        place = Place(self, f"{self._name}_{self._hired}", self._hired)
        self._hired += 1
        (self._places if first is None else self._extra).add(place)
        if self.listeners:
            self.listeners.tell(WorkerHired(place.name))
        # Not loop.create_task: a program's task factory may start it at once, before it is known here.
        place.aio = asyncio.Task(self._work(place, first), loop=self._loop, name=place.name, context=Context())

    def _dismiss(self, place: Place) -> None:
        place.dismissed = True
        self._places.discard(place)
        self._wake(place)

    def _wake(self, place: Place) -> None:
        self._idle.remove(place)
        if place.bell is not None and not place.bell.done():
            place.bell.set_result(None)

    def _look_for_the_end(self) -> None:
        """Let everybody leave if nothing waits or runs, and no more is to come; when they have left, that is it."""
        at_work = self._extra or self.parking.held or self.line.has_ordered() or len(self._idle) < len(self._places)
        if not self.is_over() or at_work:
            return
        for place in tuple(self._idle):
            self._dismiss(place)
        if not self._over.is_set():
            self._over.set()
            self.timers.stop()
            if self._thread is None:
                self._departed.set()

    async def _work(self, place: Place, first: Task | None) -> None:
        """Be a place, from the start to the end."""
        self.tally.mark = monotonic()
        try:
            if first is None:
                await self._serve(place)
            else:
                await self._serve_one(place, first)
        finally:
            here.worker = None
            for places in (self._places, self._extra, self._stuck, self._away):
                places.discard(place)
            if self.listeners:
                self.listeners.tell(WorkerLeft(place.name))
            self._muster()

    def _may_stay(self, place: Place) -> bool:
        self._attention = False  # then look, while whoever changes something does it the other way round
        if self._surplus() <= 0:
            return True
        self._attention = True
        self._places.discard(place)
        return False

    async def _park(self, place: Place) -> bool:
        """Wait until there is something to take; False if the place is to leave."""
        here.worker = None
        self._short = True  # then look again: see Races
        if not (self.items.empty() or self._is_held()):
            self._short = False
            return True
        place.bell = asyncio.get_running_loop().create_future()
        self._idle.append(place)
        self._look_for_the_end()
        try:
            await place.bell
        finally:  # cancelled from outside: another one will be hired when it is needed
            if place in self._idle:
                self._idle.remove(place)
        self.tally.mark = monotonic()
        return not place.dismissed

    def _ended(self) -> int:
        """Return how many of the taken tasks have ended, or lent their places. In any thread."""
        return self.tally.taken - sum(place.task is not None and not place.loans for place in tuple(self._places))


class _Bell:
    """This stands in for a queue where the interpreter's end puts a None to wake a thread."""

    def __init__(self, crew: LoopRoster) -> None:
        self._crew = crew

    def put(self, item: None) -> None:
        """Have the crew see that the end is near."""
        self._crew.wake()
