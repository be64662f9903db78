"""The threads of a pool: hiring, working, writing off, leaving.

Guarantees:
    A task that was admitted ends: a worker runs it, or it is cancelled, or it fails with what stopped the pool.
    A worker is hired when an item waits for which no worker is free, as long as there are fewer than wanted.
    The crew keeps its size: a thread whose call overstays its timeout is replaced at once.

Locks:
    `_roster` (re-entrant, since a finaliser may submit or cancel): who is in the crew, what those who left
    have counted, and why work is refused. Taken after a line's lock, before the stdlib's
    `_global_shutdown_lock`; never held while user code runs.

Races:
    Submit against close. Submit puts, then looks at `_refusal`; close sets `_refusal`, then puts the None at
    which workers leave. So a task stands before that None, or its submitter sees the refusal and withdraws
    it. The end of the interpreter works alike, with the stdlib's `_shutdown` and the None of its exit hook.

    Submit against a worker that becomes free. Both are counted up, never down: places taken, and items taken
    plus idle workers. Submit raises the first, then reads the second; if it is behind, nobody has promised to
    take this item, and one is hired. A worker that raised the second and then turns to callbacks takes its
    promise back and looks for itself.

Shutdown:
    1. `close`: refuse work; cancel what waits, if asked to. 2. Each worker finishes what waits, meets the
    None, passes it on and leaves. 3. The last one stops the timers. 4. `join` waits for all of this, but not
    for threads that are written off: they leave when their call returns, and the interpreter waits for them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from weakref import ref

from millhand.core.clock import SystemClock
from millhand.core.errors import PoolClosed, QueueFull, TaskTimeout
from millhand.pool import interpreter_exit
from millhand.pool.future import RAISED, Callback, running_loop
from millhand.pool.queues import Item, Line
from millhand.pool.stats import Books, PoolStats, Tally
from millhand.pool.task import Task
from millhand.pool.timers import Timers

log = logging.getLogger("concurrent.futures")  # where the stdlib's pools report the same mishaps


class Worker(Tally):
    """This is one thread of the crew and what it has counted."""

    __slots__ = ("thread", "written_off")

    def __init__(self) -> None:
        super().__init__()
        self.written_off = False
        self.thread: threading.Thread


class Crew:
    """This runs the tasks of one pool. It outlives the pool until all tasks have ended.

    Args:
        pool: referred to weakly only; when it is collected, the crew finishes what waits and leaves.
        size: how many threads at most.
        name: the threads' names begin with it.
        queue_size: how many tasks may wait; None: as many as fit in memory.
        initializer: called first in each thread; if it raises, the pool is broken.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        *,
        size: int,
        name: str,
        queue_size: int | None,
        initializer: Callable[[], object] | None,
    ) -> None:
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.threads: set[threading.Thread] = set()
        self.books = Books()
        self._line = Line(self.items, queue_size, self._taken)
        wake = self.items.put  # all that the callback may do: it can run anywhere, also under our locks
        self._pool = ref(pool, lambda _: wake(None))
        self._size, self._name, self._initializer = size, name, initializer
        self._timers = Timers(SystemClock(), f"{name}_timer")
        self._refusal: Callable[[], Exception] | None = None
        self._roster = threading.RLock()
        self._departure = threading.Condition(self._roster)
        self._workers: set[Worker] = set()
        self._stuck: set[Worker] = set()
        self._beside: set[Tally] = set()
        self._past = Tally()
        self._hired = 0
        self._short = True
        self._gave_up = False

    def submit(self, task: Task, priority: int = 0) -> None:
        """Have a task run; blocks while every place is taken.

        Raises:
            PoolClosed, BrokenThreadPool: no more work is taken.
            QueueFull: every place is taken and this thread runs an event loop.
        """
        if self._refusal is not None:
            raise self._turn_away(self._refusal())
        line = self._line
        if not next(line.places, False) and not self._find_place(task):
            return
        if priority or line.ranked:
            line.put_ranked(task, priority)
        else:
            line.put(task)
        # Only after the put: see "Submit against close".
        if self._refusal is not None or interpreter_exit.is_near():
            self._withdraw(task, self._refusal or partial(PoolClosed, "the interpreter is about to exit"))
        elif self._short:
            try:
                self._hire_if_short()
            except RuntimeError as error:  # no thread can be started
                refusal = error
                self._withdraw(task, lambda: refusal)

    def close(self, *, cancel: bool) -> None:
        """Take no more work, cancel what waits if told to, let everybody leave; idempotent."""
        with self._roster:
            self._refusal = self._refusal or partial(PoolClosed, "this pool was shut down; submit before that")
        if cancel:
            for task in self._line.drain():
                task.cancel()
        self._line.close()

    def join(self) -> None:
        """Wait until every worker has left. Raises RuntimeError in a worker, which would wait for itself."""
        if threading.current_thread() in self.threads:
            raise RuntimeError("cannot join current thread: a task cannot wait for the end of its own pool")
        with self._departure:
            self._departure.wait_for(lambda: not self._workers)
        for thread in tuple(self.threads):
            thread.join()
        self._timers.join()

    def stats(self) -> PoolStats:
        """Return one look at everything that was counted."""
        with self._roster:
            tallies = [self._past, *self._workers, *self._stuck, *self._beside]
            workers, written_off = len(self._workers), len(self._stuck)
            return self.books.look(tallies, self._line.admitted, workers=workers, written_off=written_off)

    # Submitting.

    def _find_place(self, task: Task) -> bool:
        """Get a place where the fast path found none; False if the task has been run here instead."""
        line = self._line
        if line.issue_place():
            return True
        if running_loop() is not None:
            remedy = "await asyncio.wrap_future of an earlier call first, or submit from a thread"
            raise self._turn_away(QueueFull(line.waiting(), line.size, remedy))
        worker = self._this_worker()
        if worker is not None:
            # All workers may be here at once, waiting for a place that only they can free.
            self._run_here(task, worker)
            return False
        if line.wait_for_place(lambda: self._refusal is not None):
            return True
        raise self._turn_away(self._refusal() if self._refusal else PoolClosed("this pool takes no more work"))

    def _turn_away(self, error: Exception) -> Exception:
        self.books.without_place.add()  # first, so that `refused` never exceeds `submitted`
        self.books.refused.add()
        return error

    def _withdraw(self, task: Task, error: Callable[[], Exception]) -> None:
        if task.withdraw():
            self.books.refused.add()
            raise error()

    def _run_here(self, task: Task, worker: Worker) -> None:
        self.books.without_place.add()
        with self._counted_beside() as tally:
            if task.begin(tally):
                _call_back(task, self._perform(task, tally, worker))

    def _this_worker(self) -> Worker | None:
        thread = threading.current_thread()
        with self._roster:
            return next((w for w in (*self._workers, *self._stuck) if w.thread is thread), None)

    # Hiring.

    def _hire_if_short(self) -> None:
        with self._roster:
            if self._refusal is not None and not self._workers:
                raise self._refusal()  # `join` may have returned: nobody must come any more
            if len(self._workers) < self._size and self._line.admitted() > self._promised():
                self._hire()

    def _hire(self, first: Callable[[], object] | None = None) -> None:
        """Start a worker, which calls `first` before it takes a task. Raises RuntimeError if it cannot be started."""
        worker = Worker()
        worker.idle = first is None  # hired for an item that waits, and so promised to take one
        name = f"{self._name}_{self._hired}"
        worker.thread = threading.Thread(target=self._work, args=(worker, first), name=name)
        with self._roster:  # held until the worker is in the crew: it may leave at once
            interpreter_exit.start(worker.thread, self.items)
            self._workers.add(worker)
            self.threads.add(worker.thread)
            self._hired += 1
            self._short = len(self._workers) < self._size

    def _taken(self) -> int:
        with self._roster:
            return self._past.taken + sum(worker.taken for worker in (*self._workers, *self._stuck))

    def _promised(self) -> int:
        """Return how many items workers have taken or, being idle, are about to take."""
        promised = self._past.taken + sum(worker.taken for worker in self._stuck)
        for worker in self._workers:
            # In this order, while a worker lowers `idle` before it raises `taken`: never one too many.
            promised += worker.taken + worker.idle
        return promised

    # Working.

    def _work(self, worker: Worker, first: Callable[[], object] | None) -> None:
        try:
            if self._initialize():
                if first is not None:
                    first()
                del first
                self._serve(worker)
        finally:
            self._leave(worker)

    def _initialize(self) -> bool:
        try:
            if self._initializer is not None:
                self._initializer()
        except BaseException:  # the edge of a worker; the pool breaks with it
            log.critical("Exception in initializer:", exc_info=True)
            self._break("A thread initializer failed, the thread pool is not usable anymore")
            return False
        return True

    def _serve(self, worker: Worker) -> None:
        line, take = self._line, self._line.take
        while not worker.written_off:
            worker.idle = True
            item = take()
            task = line.best(item) if line.ranked else item
            if task is None:
                if self._is_over():
                    self.items.put(None)  # the next one leaves, too
                    if not line.has_ranked():
                        return
                continue
            worker.idle = False
            worker.taken += 1
            if line.bell:
                line.ring()
            if task.begin(worker):
                callbacks = task.perform(worker) if task.timeout is None else self._perform(task, worker, worker)
                if callbacks:
                    self._turn_to_callbacks(task, callbacks, worker)
                elif callbacks is None:
                    return  # the task timed out: this thread is written off, or will be in a moment
                del callbacks
            del item, task  # before blocking: what nobody else holds can go

    def _perform(self, task: Task, tally: Tally, worker: Worker) -> Sequence[Callback] | None:
        if task.timeout is None:
            return task.perform(tally)
        try:
            alarm = self._timers.add(
                task.timeout, partial(self._write_off, worker, task, task.describe_timeout(task.timeout))
            )
        except RuntimeError as error:  # no thread to be had for the timer: better no run than one without its limit
            return task.finish(RAISED, error, tally)
        try:
            return task.perform(tally)
        finally:
            self._timers.call_off(alarm)

    def _turn_to_callbacks(self, task: Task, callbacks: Sequence[Callback], worker: Worker) -> None:
        # Not free yet, after all: a callback may take long, or wait for something that it submits.
        worker.idle = False
        if self._short:
            self._hire_if_short()
        _call_back(task, callbacks)

    # Writing off.

    def _write_off(self, worker: Worker, task: Task, error: TaskTimeout) -> None:
        """Called by the timer: end the task if it still runs, and replace the worker that is stuck in it."""
        if not task.seize_end():
            return
        self.books.timed_out.add()
        callbacks: SimpleQueue[Sequence[Callback]] = SimpleQueue()
        # The crew first: who sees the timeout may look at the stats. Callbacks are left to the new worker,
        # since one that takes long, or submits to a full pool, must not hold up all other timeouts.
        replaced = self._replace(worker, first=lambda: _call_back(task, callbacks.get()))
        callbacks.put(task.conclude(RAISED, error))
        if not replaced:
            _call_back(task, callbacks.get())
        if self._gave_up:
            self._fail_waiting()

    def _replace(self, worker: Worker, first: Callable[[], object]) -> bool:
        """Strike a worker off and hire another, which calls `first`; False if that was not to be."""
        with self._roster:
            worker.written_off = True
            if worker in self._workers:
                self._workers.discard(worker)
                self._stuck.add(worker)
                self.threads.discard(worker.thread)
                interpreter_exit.forget(worker.thread)
            elif len(self._workers) == self._size:  # written off before, in a call around this one
                return False
            stuck = f"{len(self._stuck)} of its threads are stuck in calls that overstayed their timeouts"
            if len(self._stuck) > self._size:
                return self._give_up(stuck)
            try:
                self._hire(first)
            except RuntimeError as error:
                return self._give_up(f"{stuck}, and none can be added: {error}")
            return True

    def _give_up(self, reason: str) -> bool:
        if not self._gave_up:
            self._gave_up = True
            self._refusal = partial(PoolClosed, f"this pool has given up: {reason}")
        return False

    # Leaving.

    def _is_over(self) -> bool:
        return self._refusal is not None or interpreter_exit.is_near() or self._pool() is None

    def _break(self, reason: str) -> None:
        pool = self._pool()
        if pool is not None:
            pool._broken = reason  # type: ignore[assignment]  # noqa: SLF001 - where the stdlib keeps and shows it
        del pool
        with self._roster:
            self._refusal = partial(BrokenThreadPool, reason)
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        """Fail what waits with the reason for which work is refused, and let everybody leave."""
        refusal = self._refusal
        with self._counted_beside() as tally:
            for task in self._line.drain():
                if refusal is not None and task.begin(tally):
                    _call_back(task, task.finish(RAISED, refusal(), tally))
        self._line.close()
        self._note_departure()

    def _leave(self, worker: Worker) -> None:
        with self._roster:
            self._workers.discard(worker)
            self._stuck.discard(worker)
            self._past.absorb(worker)
            self._short = True
        self._note_departure()

    def _note_departure(self) -> None:
        with self._roster:
            if not self._workers and self._is_over():
                self._timers.stop()
            self._departure.notify_all()

    @contextmanager
    def _counted_beside(self) -> Iterator[Tally]:
        """Count what is done outside of a worker's loop."""
        tally = Tally()
        with self._roster:
            self._beside.add(tally)
        try:
            yield tally
        finally:
            with self._roster:
                self._beside.discard(tally)
                self._past.absorb(tally)


def _call_back(task: Task, callbacks: Sequence[Callback] | None) -> None:
    """Call a task's callbacks; a SystemExit in one of them is nothing to end a worker for."""
    try:
        task.call_back(callbacks or ())
    except BaseException:  # the edge of a worker; call_back itself logs what is an Exception
        log.critical("Exception in worker", exc_info=True)
