"""One worker of a crew: what it runs, what it has counted, and what it is to look at before its next task."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from millhand.core.clock import Instant
from millhand.pool.stats import Tally, WorkerStats

if TYPE_CHECKING:
    from millhand.pool.admission import Admission
    from millhand.pool.task import Task
    from millhand.pool.timers import Alarm

LONGEST_CHAIN = 10


class Worker(Tally):
    """This is one of those who run tasks: a thread, or the place of one coroutine on a loop."""

    __slots__ = (
        "alarm",
        "alarm_at",
        "attention",
        "crew",
        "depth",
        "limits",
        "name",
        "number",
        "task",
        "thread",
        "usual",
        "waits_for",
        "written_off",
    )

    def __init__(self, crew: Admission, name: str, number: int = -1) -> None:
        super().__init__()
        self.crew, self.name, self.number = crew, name, number
        self.task: Task | None = None
        """What it runs now."""
        self.attention = False
        """It must ask the crew before it takes or starts another task."""
        self.written_off = False
        self.waits_for: Task | None = None
        """A task of its own crew; maybe one among several (then the one it asked for first)."""
        self.depth = 0
        """How many calls it runs inside of each other, beyond the first."""
        self.limits: list[tuple[Instant, Task]] = []
        """The calls that it runs under a timeout, the outermost first, and when their time is over."""
        self.alarm_at: Instant = float("inf")
        self.alarm: Alarm | None = None
        """The alarm for the next of its limits, and when it rings."""
        self.usual: object = None
        """The terms of the tasks that it just performs; another object, if each has to be told of."""
        self.thread: threading.Thread

    def look(self) -> WorkerStats:
        """Return what is to be seen of it."""
        task = self.task
        state = "idle" if task is None else "waiting" if self.waits_for is not None else "running"
        return WorkerStats(
            self.name, "written off" if self.written_off else state, "" if task is None else task.name, self.started
        )


def chain_of(workers: Iterable[Worker], worker: Worker, task: Task | None) -> tuple[str, ...]:
    """Return the names of the calls that wait for each other, from the one that a worker runs on."""
    runs = {each.task: each for each in workers}
    names = ["?" if worker.task is None else worker.task.name]
    while task is not None and len(names) < LONGEST_CHAIN:
        names.append(task.name)
        waits = runs.get(task)
        task = None if waits is None else waits.waits_for
    return tuple(names)
