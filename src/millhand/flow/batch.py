"""Small calls gathered into big ones: what comes within a moment is done by one call, and each caller gets his answer.

Guarantees:
    A call is given at most `size` items, in the order in which they came. An item waits for company at most `within`,
    then only for its place in the pool.
    Every future ends. One batch fails only whom it must, if it may be split: the halves of a failed one are tried
    again, so one bad item among n costs about 2 × log2(n) calls more.
    No more than `queue_size` items are without an answer.

Threads:
    All batches are handed to the pool by one thread, the batcher's own. So who submits never waits for the pool, and
    neither does a worker whose batch has failed.

Locks:
    `_lock` protects all that changes. Nothing is called under it, except for the two conditions that share it.

Shutdown:
    1. `close` takes no more items. 2. What was gathered is done, with cancel it is cancelled. 3. The thread ends with
    the last answer, with cancel at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import PoolClosed, QueueFull, WrongBatch
from millhand.flow.station import Call, check_count, error_of, stop_call
from millhand.pool import Future, Pool, PoolView
from millhand.pool.future import running_loop

X = TypeVar("X")
R = TypeVar("R")

GRACE: Seconds = 1.0
"""How long a close that cancels waits for the calls that run."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[X, R]):
    """This is one item that wants an answer."""

    item: X
    future: Future[R]
    came: Instant


Batch: TypeAlias = "list[Entry[X, R]]"


class Batcher(Generic[X, R]):
    """This gathers items and has `fn` called with lists of them, in a pool.

        with Batcher(pool, insert_rows, size=500, within=0.02) as batcher:
            future = batcher.submit(row)

    A `with` body that is left by an exception cancels what waits. Answers must not be waited for in calls of the same
    pool: the batch that brings them could wait behind these. What is not promised: that `fn` is given an item once,
    if batches are split.

    Args:
        pool: where `fn` runs, with its options if it is a view.
        fn: is given a list, and returns a list (or tuple) of one result for each item, in the same order. An async
            function if it is a pool of coroutines.
        size: of the largest batch.
        within: how long an item waits for others, at most.
        split: whether a batch that fails is split and tried again. Then `fn` must bear being given an item again.
        queue_size: how many items may be without an answer; then `submit` waits.
        name: of the thread, and for messages; None: the function's.

    Raises:
        ValueError: an argument is not what it should be; the message says which.
    """

    def __init__(  # noqa: PLR0913 - these are its settings, each by its name
        self,
        pool: Pool | PoolView,
        fn: Callable[[list[X]], Any],
        *,
        size: int = 100,
        within: Seconds = 0.01,
        split: bool = True,
        queue_size: int = 10_000,
        name: str | None = None,
    ) -> None:
        if not isinstance(pool, Pool | PoolView):
            raise ValueError(f"a batcher needs a pool or a view of one, got {pool!r}")
        if not callable(fn):
            raise ValueError(f"a batcher needs a function of a list, got {fn!r}")
        if not isinstance(within, int | float) or isinstance(within, bool) or not 0 <= within < float("inf"):
            raise ValueError(f"within must be a number of seconds of at least 0, got {within!r}")
        check_count("size", size)
        check_count("queue_size", queue_size)
        self._pool, self._fn = pool, fn
        self._size, self._within, self._split, self._limit = min(size, queue_size), within, split, queue_size
        self._name: str = getattr(fn, "__name__", type(fn).__name__) if name is None else name
        self._lock = threading.Lock()
        self._work_came, self._place_came = threading.Condition(self._lock), threading.Condition(self._lock)
        self._gathered: deque[Entry[X, R]] = deque()
        self._halves: deque[Batch[X, R]] = deque()
        self._calls: set[Call] = set()
        self._unanswered = 0
        self._askers: deque[Callable[[], object]] = deque()
        """Wake those who wait for a place in asyncio."""
        self._closed = self._cancelled = False
        self._thread: threading.Thread | None = None

    def submit(self, item: X) -> Future[R]:
        """Have an item done; return the future of its answer, which can be awaited, too.

        Raises:
            QueueFull: in a thread that runs an event loop, if there is no place: `await batcher.run(item)` waits.
            PoolClosed: after `close`.
        """
        while True:
            with self._lock:
                future = self._enter(item)
                if future is not None:
                    return future
                if running_loop() is not None:
                    remedy = "await batcher.run(...) instead: this thread runs an event loop and must not be blocked"
                    raise QueueFull(self._unanswered, self._limit, remedy)
                self._place_came.wait()

    async def run(self, item: X) -> R:
        """Have an item done, for asyncio: waits for a place and for the answer without blocking the loop.

        Raises:
            PoolClosed: after `close`.
            Whatever the answer is, if it is an error.
        """
        loop = asyncio.get_running_loop()
        while True:
            place = asyncio.Event()
            tell = partial(loop.call_soon_threadsafe, place.set)
            with self._lock:
                future = self._enter(item)
                if future is None:
                    self._askers.append(tell)
            if future is not None:
                return await future
            try:
                await place.wait()
            except asyncio.CancelledError:
                try:
                    self._askers.remove(tell)
                except ValueError:  # it was told of a place, which is for somebody else now
                    self._tell_of_places(1)
                raise

    def close(self, *, cancel: bool = False) -> None:
        """Take no more items, and wait until all have their answers; may be called again.

        With `cancel`, what waits is cancelled, and what runs is asked to stop and waited for, a second at most.

        Raises:
            RuntimeError: in a thread that runs an event loop: `await batcher.aclose()` does not block it.
        """
        if running_loop() is not None:
            raise RuntimeError("this would block the event loop of this thread: await batcher.aclose() instead")
        self._close(cancel=cancel)

    async def aclose(self, *, cancel: bool = False) -> None:
        """Close it, for asyncio."""
        await asyncio.to_thread(self._close, cancel=cancel)

    def __enter__(self) -> Self:
        if running_loop() is not None:
            raise RuntimeError("leaving a batcher waits, and this thread runs an event loop: use `async with`")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(cancel=kind is not None)
        except BaseException:  # Ctrl-C, while it waited for answers
            self.close(cancel=True)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(cancel=kind is not None)

    # Coming in.

    def _enter(self, item: X) -> Future[R] | None:
        """Give an item a place, under the lock; None if there is none."""
        if self._closed:
            raise PoolClosed(f"the batcher of {self._name} is closed; submit before its end")
        if self._unanswered >= self._limit:
            return None
        if self._thread is None:
            thread = threading.Thread(target=self._work, name=f"{self._name}_batcher", daemon=True)
            thread.start()
            self._thread = thread
        future: Future[R] = Future()
        self._unanswered += 1
        self._gathered.append(Entry(item, future, monotonic()))
        if len(self._gathered) in (1, self._size):  # the thread has a moment to wait for, or need not wait for it
            self._work_came.notify()
        return future

    def _close(self, *, cancel: bool) -> None:
        dropped: list[Entry[X, R]] = []
        with self._lock:
            self._closed = True
            self._cancelled = self._cancelled or cancel
            if cancel:
                dropped = [*self._gathered, *(entry for half in self._halves for entry in half)]
                self._gathered.clear()
                self._halves.clear()
            calls = tuple(self._calls) if cancel else ()
            self._work_came.notify_all()
            self._place_came.notify_all()
        self._tell_of_places(len(self._askers))
        for call in calls:
            stop_call(call)
        self._fail(dropped, CancelledError())
        if self._thread is not None:
            self._thread.join(GRACE if cancel else None)  # it may stand in line for a place in the pool
        if cancel:
            with self._lock:
                self._work_came.wait_for(lambda: not self._unanswered, GRACE)

    # In the batcher's thread.

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._call(batch)
            del batch  # or the last one would stay alive until the next comes

    def _next_batch(self) -> Batch[X, R] | None:
        """Wait for the next batch, and return it; None if there will be no more."""
        with self._lock:
            while not self._cancelled:
                if self._halves:
                    return self._halves.popleft()
                patience = None
                if self._gathered:
                    patience = self._gathered[0].came + self._within - monotonic()
                    if len(self._gathered) >= self._size or patience <= 0 or self._closed:
                        return [self._gathered.popleft() for _ in range(min(self._size, len(self._gathered)))]
                elif self._closed and not self._unanswered:
                    return None
                self._work_came.wait(patience)
            return None

    def _call(self, batch: Batch[X, R]) -> None:
        """Hand a batch to the pool, without those who were cancelled meanwhile."""
        wanted = [entry for entry in batch if entry.future.running() or entry.future.set_running_or_notify_cancel()]
        self._note_answers(len(batch) - len(wanted))
        if not wanted:
            return
        try:
            call = self._pool.submit(self._fn, [entry.item for entry in wanted])
        except BaseException as error:  # noqa: BLE001 - the edge of the thread: the callers get it
            self._fail(wanted, error)
            return
        with self._lock:
            self._calls.add(call)
        call.add_done_callback(partial(self._settle, wanted))
        if self._cancelled:  # maybe between the submit and the note of it
            stop_call(call)

    # Answers, in whatever thread ends a call.

    def _settle(self, batch: Batch[X, R], call: Call) -> None:
        with self._lock:
            self._calls.discard(call)
        error = error_of(call)
        if error is None:
            self._answer(batch, call.result())
        elif len(batch) == 1 or not self._split or call.cancelled() or not self._try_halves(batch):
            self._fail(batch, error)

    def _try_halves(self, batch: Batch[X, R]) -> bool:
        middle = len(batch) // 2
        with self._lock:
            if self._cancelled:
                return False
            self._halves += (batch[:middle], batch[middle:])
            self._work_came.notify()
        return True

    def _answer(self, batch: Batch[X, R], answers: object) -> None:
        if not isinstance(answers, list | tuple):
            self._fail(batch, WrongBatch(self._name, len(batch), f"no list, but {type(answers).__name__}"))
            return
        if len(answers) != len(batch):
            self._fail(batch, WrongBatch(self._name, len(batch), f"{len(answers)} results"))
            return
        for entry, answer in zip(batch, answers, strict=True):
            entry.future.set_result(answer)
        self._note_answers(len(batch))

    def _fail(self, batch: Batch[X, R], error: BaseException) -> None:
        for entry in batch:
            if not entry.future.cancel():
                entry.future.set_exception(error)
        self._note_answers(len(batch))

    def _note_answers(self, n: int) -> None:
        if n:
            with self._lock:
                self._unanswered -= n
                self._place_came.notify(n)
                self._work_came.notify_all()
            self._tell_of_places(n)

    def _tell_of_places(self, n: int) -> None:
        for _ in range(n):
            with suppress(IndexError, RuntimeError):  # nobody waits, or his loop is closed
                self._askers.popleft()()
