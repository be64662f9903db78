"""A worker of a pool of processes: a thread that minds one process, gives it frames, and sees what comes of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, cast

from millhand.core.clock import Seconds
from millhand.core.errors import TaskCancelled
from millhand.pool.attached import Callback
from millhand.pool.future import RAISED, RETURNED
from millhand.pool.process.frames import CALLS, Calls, Frame, One, Raised, Unsent
from millhand.pool.process.packed import Packed
from millhand.pool.process.sheet import SLOTS
from millhand.pool.process.worker_process import ProcessGone, WorkerProcess
from millhand.pool.task import Task, call_back, monotonic
from millhand.pool.worker import Worker

if TYPE_CHECKING:
    from millhand.pool.process.crew import ProcessCrew

SLACK = 2
"""How many times as long as it should a frame may take before it is halted, since machines are noisy."""

PATIENCE = 3
"""How many processes in a row may die before they begin what they were given; the next takes a call with it."""

GROWTH = 4
"""How many times as many calls the next frame may have."""


class Minder(Worker):
    """This is one of those workers."""

    __slots__ = ("_after", "_barren", "_pace", "_process", "_room", "handing")

    crew: ProcessCrew

    def __init__(self, crew: ProcessCrew, name: str, number: int = -1) -> None:
        super().__init__(crew, name, number)
        self._process: WorkerProcess | None = None
        self._pace: Seconds = CALLS
        self._room = 1
        self._barren = 0
        self._after: list[tuple[Task, Sequence[Callback]]] = []
        """What is to be called back when no frame is under way."""
        self.handing = threading.Lock()
        """Who takes the end of its call from it: what is to be called back then comes before it looks for that."""

    # Its process.

    def process(self) -> WorkerProcess:
        """Return its process, started now if it has none. Raises BrokenProcessPool."""
        process = self._process
        if process is not None and process.served >= self.crew.tasks_per_process:
            self.let_go()
            process = None
        if process is None:
            try:
                process = self._process = self.crew.nursery.take()
            except BrokenProcessPool as error:
                self.crew.break_down(str(error))
                raise
        return process

    def let_go(self) -> None:
        """End its process, if it has one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    @property
    def current_process(self) -> WorkerProcess | None:
        """Its process, if it has one now."""
        return self._process

    def kill(self, task: Task, verdict: Exception) -> bool:
        """Kill its process if it runs this task; return whether it did. From any thread."""
        process = self._process
        return process is not None and process.kill(task, verdict)

    def _bury(self, process: WorkerProcess, name: str) -> Exception:
        """See a process off that has died; return what the call is told that it died in."""
        error = process.describe_end(name)
        self._process = None
        process.close(0)
        if not self.crew.is_over():
            self.crew.nursery.keep_spare()
        return error

    # What it runs.

    @property
    def room(self) -> int:
        """How many small calls its next frame may have."""
        return min(self._room, self.allowance)

    @property
    def allowance(self) -> int:
        """How many calls its process may run before it is replaced; at least one."""
        process = self._process
        served = 0 if process is None else process.served
        return max(1, self.crew.tasks_per_process - served % self.crew.tasks_per_process)

    def run_packed(self, packed: Packed) -> Any:
        """Have a call run by the process, and wait for it; return what it returns, raise what it raises."""
        frame = One(cast("Task", self.task), packed)
        while not self.run(frame)[1]:
            if frame.is_stopped():
                raise TaskCancelled(packed.__qualname__)
        if isinstance(frame.result, Raised):
            raise frame.result.error
        return frame.result

    def run_calls(self, tasks: list[Task]) -> None:
        """Run calls of which nothing is to be noted, and end their futures."""
        tasks = [task for task in tasks if task.take_ticket()]
        self.started += len(tasks)
        self.task = tasks[0] if tasks else None
        while tasks:
            frame = Calls(tasks, self._tell, self._give_back)
            took, done = self.run(frame)
            tasks = self._without_stopped(frame.tasks[done:])
            if took is not None:
                self._measure(took / max(1, done))
        self.task = None
        self.idle = True

    def run(self, frame: Frame) -> tuple[Seconds | None, int]:
        """Run as much of a frame as the process comes to.

        Returns:
            How long that took, None if it is not known; how many of its calls have ended.
        """
        try:
            process = self.process()
        except BrokenProcessPool as error:
            frame.note(0, [Raised(error)] * frame.size)
            return None, frame.size
        process.begin(frame)
        if frame.is_stopped():  # then, since whoever stops a call does it the other way round: asks, then kills
            process.over()
            return None, 0
        done = 0
        try:
            frame.send(process)
            frame.look_ahead()
            took = process.wait(frame.patience and SLACK * frame.patience)
            if took is None:
                process.halt()
                took = process.wait(SLACK * CALLS)
            if took is None:
                done = self._note(process, frame, done)
                if done < frame.size:
                    frame.cut(done + 1)
                    process.runs_only(frame)
                took = process.wait(None)
        except ProcessGone:
            process.see_end()
            done = self._note(process, frame, done)
            self._barren = 0 if process.is_in_a_call else self._barren + 1
            guilty = done < frame.size and (process.is_in_a_call or self._barren > PATIENCE)
            reason = self._bury(process, frame.name(done) if guilty else "")
            if guilty:
                frame.note(done, [Raised(reason)])
            return None, done + guilty
        except Unsent as unsent:
            process.over()
            frame.note(0, [Raised(unsent.error)] * frame.size)
            return None, frame.size
        done = self._note(process, frame, done)
        self._barren = 0
        if not process.over():
            self._bury(process, "")
        return took, done

    def _note(self, process: WorkerProcess, frame: Frame, start: int) -> int:
        stop = process.ended
        frame.note(start, process.results(start, stop))
        return max(start, stop)

    def _give_back(self, tasks: list[Task]) -> None:
        self.crew.take_back(self, self._without_stopped(tasks))

    def _without_stopped(self, tasks: list[Task]) -> list[Task]:
        """End those that were asked to stop before they had begun; return the others."""
        for task in tasks:
            if task.asked:
                self._tell(task, Raised(TaskCancelled(task.name)))
        return [task for task in tasks if task.end is None]

    def _tell(self, task: Task, result: Any) -> None:
        self.mark = monotonic() - self._pace
        if isinstance(result, Raised):
            callbacks = task.finish(RAISED, result.error, self)
        else:
            callbacks = task.finish(RETURNED, result, self)
        if callbacks:
            self._after.append((task, callbacks))

    def _measure(self, pace: Seconds) -> None:
        self._pace = pace if pace > self._pace else 0.5 * (pace + self._pace)
        self._room = max(1, min(GROWTH * self._room, int(CALLS / self._pace), SLOTS))

    # Afterwards.

    @property
    def has_callbacks(self) -> bool:
        """Whether there is something to be called back."""
        return bool(self._after)

    def later(self, task: Task, callbacks: Sequence[Callback]) -> None:
        """Have callbacks called when no frame is under way. From any thread."""
        self._after.append((task, callbacks))

    def call_back(self) -> None:
        """Call what is to be called back."""
        while self._after:
            task, callbacks = self._after.pop(0)
            self.task = None
            call_back(task, callbacks)
        self.mark = monotonic()
