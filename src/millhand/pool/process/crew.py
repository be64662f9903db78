"""The workers of a pool of processes: threads, each of which minds a process.

A crew of threads in all but what running a call means. So options, orders, policies, groups, sub-pools and the rest
are the same, from the same code; and a call that is stuck costs a process, which can be killed, and no thread.

Guarantees:
    A process that dies fails the call that it ran, and no other: what it had not begun runs elsewhere.
    A call that overstays its limit is over in time, and so is its process.
    A result that a process has written down is not lost by its death (`pool.process.sheet`).

Shutdown:
    As `Roster`; each minder ends its process when it leaves, and the last one the spare.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from queue import Empty
from typing import Any, ClassVar, cast

from millhand.core.clock import Seconds
from millhand.core.errors import TaskCancelled
from millhand.core.events import WorkerHired
from millhand.pool.admission import Admission
from millhand.pool.carried import Carried
from millhand.pool.crew import Crew
from millhand.pool.current import here
from millhand.pool.future import RAISED
from millhand.pool.lane import Lane
from millhand.pool.options import Settings
from millhand.pool.process.luggage import Luggage
from millhand.pool.process.mapping import MappedInProcesses
from millhand.pool.process.memory_watch import MemoryWatch, check_limit
from millhand.pool.process.minder import Minder
from millhand.pool.process.nursery import Nursery
from millhand.pool.process.packed import Packed
from millhand.pool.process.parcel import LARGE
from millhand.pool.process.worker_process import WorkerProcess
from millhand.pool.queues import Item
from millhand.pool.task import Task, call_back, monotonic
from millhand.pool.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """This is what a pool of processes is asked for beside what any pool is.

    Raises:
        ValueError, TypeError: one of them is not what it should be.
    """

    max_tasks: int | None = None
    """After how many calls a process is replaced; None: never."""
    memory_limit: int | None = None
    """How many bytes of memory a process may have resident; None: as many as there are."""
    context_vars: Sequence[str] = ()
    """Which contextvars go along with a call, as "package.module:name"."""

    def __post_init__(self) -> None:
        if self.max_tasks is not None:
            if not isinstance(self.max_tasks, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if self.max_tasks <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        check_limit(self.memory_limit)
        if isinstance(self.context_vars, str):
            raise TypeError(f"context_vars must be a list of names, got {self.context_vars!r}")


class Packs(Admission):
    """This is the front of a crew whose calls are pickled when they are submitted."""

    staff: ProcessCrew

    def submit(self, task: Task) -> None:
        """Have a task run, as any pool. Raises NotPicklable, too."""
        task.pack(self.staff.pack)
        super().submit(task)

    def offer(self, task: Task, *, again: bool = False) -> bool:
        """Submit a task without waiting, as any pool. Raises NotPicklable, too."""
        if not isinstance(task.call, Packed | None):  # None: it has ended before its turn came
            task.pack(self.staff.pack)
        return super().offer(task, again=again)


class ProcessLane(Packs, Lane):
    """This is the front of a sub-pool of a pool of processes."""


class ProcessCrew(Packs, Crew):
    """This runs the tasks of one pool of processes.

    Args:
        nursery: where its processes come from.
        care: what is taken along, and taken care of.
        The others are those of Roster.
    """

    broken: ClassVar[type[BrokenExecutor]] = BrokenProcessPool
    carried: ClassVar[type[Carried]] = MappedInProcesses

    def __init__(self, pool: object, size: int, name: str, settings: Settings, nursery: Nursery, care: Care) -> None:
        super().__init__(pool, size, name, settings, None)
        self.nursery = nursery
        self.luggage = Luggage(care.context_vars)
        self.tasks_per_process = care.max_tasks or sys.maxsize
        self._watch = care.memory_limit and MemoryWatch(care.memory_limit, self._processes, self.timers)
        self._back: deque[Task] = deque()
        """What processes were given and did not come to."""

    def pack(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Packed:
        """Return a call as it travels. Raises NotPicklable."""
        return Packed(fn, args, kwargs, self.luggage.values() if self.luggage else ())

    def make_worker(self, name: str, number: int) -> Minder:
        """Return a new worker. Raises RuntimeError: a thread that it needs cannot be started."""
        self.nursery.prepare()
        return Minder(self, name, number)

    def hire(self, first: Callable[[], object] | None = None) -> None:
        """Start a worker. Raises BrokenProcessPool if it cannot be started, as the standard library's pool does."""
        try:
            super().hire(first)
        except RuntimeError as error:
            with self.roster:
                if not self._workers:
                    self.nursery.close()
            raise BrokenProcessPool(f"no worker can be started: {error}") from error

    def work(self, worker: Worker, first: Callable[[], object] | None) -> None:
        """Be a worker, from the thread's start to its end."""
        here.worker = minder = cast("Minder", worker)
        try:
            minder.process()
            with self.roster:
                if self._watch and not self._watch.runs:
                    self._watch.start()
            if self.listeners:
                self.listeners.tell(WorkerHired(worker.name))
            worker.mark = monotonic()
            self._serve(minder)
        except BrokenProcessPool:
            pass  # the crew knows already
        finally:
            if self._back:  # it may have been woken for these, and leaves all the same
                self._wake_idle()
            minder.let_go()
            self.leave(worker)

    def _serve(self, worker: Worker) -> None:
        worker = cast("Minder", worker)
        line = self.line
        while not worker.attention or self.may_stay(worker):
            worker.idle = True
            back = self._take_from_back(worker)
            if back:
                worker.idle = False
                worker.run_calls(back)
            else:
                item = self._next(worker)
                task = line.best(item) if line.ordered else item
                if task is None:
                    if self.is_over() and not (self._back or self.parking.held or line.regroup()):
                        return
                    continue
                worker.idle = False
                self._run(task, worker)
                del item, task
            del back
            if worker.has_callbacks:
                self._call_back(worker)

    def _next(self, worker: Minder) -> Item:
        try:
            item = self.items.get_nowait()
        except Empty:
            worker.task = None
            item = self.items.get()
            worker.mark = monotonic()
        return self.hold(worker, item) if worker.attention else item

    def _run(self, task: Task, worker: Minder) -> None:
        tasks, odd = self._take_more(worker, task)
        if tasks:
            worker.run_calls(tasks)
        if odd is not None:
            worker.task = odd
            callbacks = self.perform(odd, worker, worker)
            if callbacks:
                worker.later(odd, callbacks)
            elif callbacks is None:
                self.is_written_off(worker)

    def _take_from_back(self, worker: Minder) -> list[Task]:
        tasks: list[Task] = []
        with suppress(IndexError):
            while self._back and len(tasks) < worker.room and not self._is_held():
                tasks.append(self._back.popleft())
        return tasks

    def resume(self) -> None:
        """Start tasks again."""
        super().resume()
        if self._back:
            self._wake_idle()

    def _take_more(self, worker: Minder, first: Task) -> tuple[list[Task], Task | None]:
        """Return as many tasks as make a frame; and one that was taken, and cannot be in one, if there is one."""
        tasks: list[Task] = []
        line, usual, task = self.line, worker.usual, first
        room, size = 1 if self._hands_over else worker.room, 0
        while True:
            worker.taken += 1
            if line.bell:
                line.ring()
            call = task.call
            if task.terms is not usual or call is None or call.is_large:
                return tasks, task
            tasks.append(task)
            size += len(call.data)
            if len(tasks) >= room or size >= LARGE:
                return tasks, None
            try:
                item = self.items.get_nowait()
            except Empty:
                return tasks, None
            following = line.best(item) if line.ordered else item
            if following is None:
                self.items.put(None)
                return tasks, None
            task = following

    def _call_back(self, worker: Minder) -> None:
        worker.idle = False
        if self._short:
            with suppress(RuntimeError):  # no thread to be had: this one will come for what waits
                self.staff_up()
        worker.call_back()

    def take_back(self, worker: Worker, tasks: list[Task]) -> None:
        """Have tasks run elsewhere that a process was given, and has not begun; in front of all that waits."""
        worker.started -= len(tasks)
        for task in tasks:
            task.step_back()
        self._back.extend(tasks)
        self._wake_idle()
        with suppress(RuntimeError):  # no thread to be had: those there come for it
            self.staff_up()

    def _is_short(self) -> bool:
        return super()._is_short() or (self._short and bool(self._back))

    def _wake_idle(self) -> None:
        for _ in range(min(len(self._back), self.size)):
            self.items.put(None)

    def _drain(self) -> list[Task]:
        back: list[Task] = []
        with suppress(IndexError):
            while True:
                back.append(self._back.popleft())
        return back + super()._drain()

    # What cannot go on.

    def is_written_off(self, worker: Worker) -> bool:
        """Return False: it is the process that goes, not its minder."""
        with cast("Minder", worker).handing:
            worker.task = None
        return False

    def interrupt(self, task: Task) -> None:
        """Kill the process that runs a task."""
        error = TaskCancelled(task.name)
        any(process.kill(task, error) for process in self._processes())

    def _processes(self) -> list[WorkerProcess]:
        with self.roster:
            processes = [cast("Minder", worker).current_process for worker in self._workers]
        return [process for process in processes if process is not None]

    def _write_off(self, worker: Worker, task: Task, error: Exception) -> None:
        """Called by the timer: end a task that runs past its limit, and the process that it runs in."""
        minder = worker if isinstance(worker, Minder) else None  # None: its submitter runs it
        with minder.handing if minder else nullcontext():
            if not task.claim_running():
                return
            task.books.overdue.add()
            task.ask()
            callbacks = task.conclude(RAISED, error)
            if minder:
                minder.later(task, callbacks)
                minder.kill(task, error)
        task.cancel_children()
        if not minder:
            call_back(task, callbacks)

    def abandon(self) -> None:
        """Let the interpreter end without those who still run: there is no need to leave any."""
        for process in self._processes():
            process.kill_now()
        if not self.join(1.0):
            super().abandon()

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until every worker has left, and its process."""
        joined = super().join(timeout)
        if joined:
            self.nursery.join()
        return joined

    def note_departure(self) -> None:
        """Tell `join`, and end the spare process when nobody needs it any more."""
        with self.roster:
            if not self._workers and self.is_over():
                self.nursery.close()
        super().note_departure()
