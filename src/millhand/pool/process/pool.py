"""The pool of processes that takes the place of `concurrent.futures.ProcessPoolExecutor`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from multiprocessing.context import BaseContext
from typing import Any, TypeVar, cast

from millhand.core.clock import Seconds
from millhand.policy.rank import DEFAULT_AGEING
from millhand.policy.scaling import Scaling
from millhand.pool.lane import Lane
from millhand.pool.options import NO_OPTIONS, Settings, WhenFull, check_size
from millhand.pool.order import OrderName
from millhand.pool.process import parcel
from millhand.pool.process.crew import Care, ProcessCrew, ProcessLane
from millhand.pool.process.nursery import Nursery, find_context
from millhand.pool.staffed import CrewPool

T = TypeVar("T")

_numbers = count()


class ProcessPool(CrewPool):
    """This runs calls in processes, with all that `ThreadPool` has for threads, and can kill them.

    A process that dies fails the call that it ran, with WorkerCrashed, and no other; another process takes its place.
    A call that overstays its `timeout`, or is cancelled while it runs (`future.cancel(running=True)`, a group that
    fails), is over at once, and its process is killed, with all that it has started.

    What is called, its arguments and its results travel pickled (by cloudpickle, if that is installed, where pickle
    cannot); a call that cannot travel raises NotPicklable when it is submitted. Arrays and other large buffers
    travel through shared memory. Small calls travel in frames of about a millisecond; what waits in one behind a call
    that turns out to be long is taken back, and runs elsewhere.

    Args:
        max_workers: how many calls run at once; None: as many as there are processors for this program. Two numbers:
            as many between them as the load is worth.
        mp_context: how processes are started: a context of multiprocessing, or "forkserver", "spawn" or "fork";
            None: forkserver, where there is one.
        initializer: called first in each process; if it raises, the pool is broken.
        initargs: its arguments.
        max_tasks_per_child: after how many calls a process is replaced by a new one; None: never.
        memory_limit: how many bytes of memory a process may have resident. One that has more is killed, within a
            twentieth of a second, and the call that it ran raises WorkerCrashed, which says so. Only where there is
            /proc; None: as many as it gets.
        context_vars: which contextvars a call finds as they were where it was submitted, as "package.module:name";
            what they hold must travel.
        queue_size, when_full, submit_timeout, order, ageing, total_timeout, idle_timeout: as with ThreadPool.
            "caller_runs" runs the call in the submitting thread, on copies of its arguments.

    Raises:
        ValueError: an argument is not what it should be; the message says which.
        TypeError: initializer cannot be called.
        NotPicklable: initializer cannot travel to a process.
    """

    _lane: type[Lane] = ProcessLane

    def __init__(  # noqa: PLR0913 - the standard library's five, and ThreadPool's, each by its name
        self,
        max_workers: int | tuple[int, int] | None = None,
        mp_context: BaseContext | str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        memory_limit: int | None = None,
        context_vars: Sequence[str] = (),
        queue_size: int | None = 100_000,
        when_full: WhenFull = "block",
        submit_timeout: Seconds | None = None,
        order: OrderName = "fifo",
        ageing: Seconds | None = DEFAULT_AGEING,
        total_timeout: Seconds | None = None,
        idle_timeout: Seconds = 10.0,
    ) -> None:
        elastic = Scaling(*max_workers, idle_timeout) if isinstance(max_workers, tuple) else None
        size = max_workers[1] if isinstance(max_workers, tuple) else max_workers
        self._max_workers = usable_processors() if size is None else size
        check_size(self._max_workers)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        care = Care(max_tasks=max_tasks_per_child, memory_limit=memory_limit, context_vars=context_vars)
        settings = Settings(
            queue_size=queue_size,
            when_full=when_full,
            submit_timeout=submit_timeout,
            total_timeout=total_timeout,
            order=order,
            ageing=ageing,
        )
        name = f"ProcessPool-{next(_numbers)}"
        context = find_context(mp_context)
        nursery = Nursery(context, name, partial(initializer, *initargs) if initializer else None)
        self._crew: ProcessCrew = ProcessCrew(self, self._max_workers, name, settings, nursery, care)
        self._begin_scaling(elastic, idle_timeout)
        if total_timeout is not None:
            self._options = NO_OPTIONS

    def share(self, value: T) -> T:
        """Return what stands for a value in the arguments of many calls, and is sent to each process only once.

        The function gets the value itself, so to a type checker this returns it. Large arrays in it lie in memory
        that all processes map: what one writes to them, no other sees. The memory is given back when what this
        returned is collected; also when this process is killed.

        Raises:
            NotPicklable: the value cannot travel.
        """
        return cast("T", parcel.share(value))


def usable_processors() -> int:
    """Return how many processors this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
