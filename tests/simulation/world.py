"""One history: a schedule that decides, by its seed alone, who does what next."""

from __future__ import annotations

import random
from typing import Any

from millhand.core.clock import Instant, Seconds
from tests.auditor import Event, Kind
from tests.simulation.client import ClientProcess
from tests.simulation.clock import ManualClock
from tests.simulation.database import Database
from tests.simulation.process import Process
from tests.simulation.runner import LATEST, RunnerProcess
from tests.simulation.step import Crash, Step
from tests.simulation.trouble import Trouble
from tests.simulation.weather import Weather

RUNNERS = (1, 2, 2)
"""How many there are at once: alone, nobody else picks up what one forgets."""
STEP_LIMIT = 10_000
"""A history takes about 600 steps, and seldom more than 4,000."""
PATIENCE: Seconds = 240.0
"""How long after the last trouble every job must have reached its end."""


class World:
    """A runner or two, a client, one database, and the trouble between them."""

    def __init__(self, seed: int, database: Database) -> None:
        database.forget_all()
        self.database = database
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.history: list[Event] = []
        self.steps = 0
        self.weather = Weather.draw(self.chance)
        self.trouble = Trouble(self, self.weather)
        self.client = ClientProcess(self)
        self.runners: list[RunnerProcess] = []
        self._stack: list[Process] = []
        self._born = 0
        for _ in range(self.chance.choice(RUNNERS)):
            self._add_runner(start_at=0.0)
        self._poison = {id for id in self.client.ids if self.chance.random() < self.weather.poison}

    # For those who take part.

    @property
    def depth(self) -> int:
        """How many steps are inside one another now."""
        return len(self._stack)

    def note(self, kind: Kind, **facts: Any) -> None:
        """Write down what happened."""
        self.history.append(Event(kind=kind, at=self.clock.monotonic(), **facts))

    def note_commit(self) -> None:
        """Let everybody who looks at the store find that it has changed."""
        now = self.clock.monotonic()
        for runner in self.runners:
            runner.note_commit(now)

    def note_death(self, runner: RunnerProcess) -> None:
        """Take note that another is to be started in its place, unless those that are left have to do."""
        self.runners.remove(runner)
        self.database.give_back(runner.door)
        if self.runners and not self.weather.replaced:
            return
        pause = 0.1 if self.trouble.is_over else self.chance.choice((0.1, 2.0, 20.0))
        self._add_runner(start_at=self.clock.monotonic() + pause)

    @property
    def is_spinning(self) -> bool:
        """Whether more was done than a history without a livelock takes."""
        return self.steps >= STEP_LIMIT

    def is_inside(self, process: Process) -> bool:
        """Tell whether this process is in the middle of a step."""
        return process in self._stack

    def is_poison(self, id: str) -> bool:
        """Tell whether this job kills the process that runs it."""
        return id in self._poison

    def draw_duration(self) -> Seconds:
        """Draw how long an attempt takes."""
        longest = self.chance.choice((0.003, 0.003, 0.01, 0.5, 15.0) if self.weather.quick else (0.01, 1.0, 5.0, 20.0))
        return self.chance.uniform(longest / 10, longest)

    def perform(self, token: int) -> object:
        """Do what a handler does: it fails, or returns the token of its claim."""
        what = self.chance.random()
        if what < 0.15:
            raise ValueError("a handler that fails")
        if what < 0.18:
            raise SystemExit("a handler that leaves")
        return object() if what < 0.2 else token

    def kill(self, runner: RunnerProcess) -> None:
        """End a runner at this very point."""
        runner.die()
        if self.is_inside(runner):
            raise Crash(runner)

    # The schedule.

    def run(self) -> list[Event]:
        """Run until every job has reached its end, or should have; return the history."""
        end = self.weather.trouble_until + PATIENCE
        while not self.is_spinning and self.clock.monotonic() < end and not self._is_over():
            self._advance(end)
        if self.is_spinning:
            self.note(Kind.RAISED, text=f"nothing, but took {self.steps} steps without coming to an end")
        self._read_end()
        for runner in self.runners:
            runner.leave()
        return self.history

    def step_inside(self, process: Process) -> None:
        """Let one step of somebody happen inside a call of this process, if anybody has something to do."""
        if self.depth > 1:
            return
        if steps := self._possible_steps():
            self._do(self._choose(steps))

    def run_inside(self, process: Process, until: Instant) -> None:
        """Let the world go on inside a call of this process."""
        while self.clock.monotonic() < until and not self.is_spinning:
            self._advance(until)

    def _advance(self, until: Instant) -> None:
        steps = self._possible_steps()
        if not steps:
            self.clock.advance_to(min(until, self._next_due()))
        elif self.trouble.lingers() and self._is_nobody_late(steps):
            self.clock.advance_to(self.clock.monotonic() + self.chance.choice((0.001, 0.01, 0.3)))
        else:
            self._do(self._choose(steps))

    def _possible_steps(self) -> list[Step]:
        now = self.clock.monotonic()
        steps = [step for process in (self.client, *self.runners) for step in process.steps(now)]
        if self.trouble.next_due() <= now:
            steps.append(Step(self.client, "disaster", self.trouble.next_due(), self.trouble.strike))
        return steps

    def _choose(self, steps: list[Step]) -> Step:
        oldest = min(steps, key=lambda step: step.due)
        return oldest if oldest.due < self.clock.monotonic() - LATEST / 2 else self.chance.choice(steps)

    def _is_nobody_late(self, steps: list[Step]) -> bool:
        return min(step.due for step in steps) > self.clock.monotonic() - LATEST / 2

    def _next_due(self) -> Instant:
        dues = [process.next_due() for process in (self.client, *self.runners)]
        return min(*dues, self.trouble.next_due())

    def _do(self, step: Step) -> None:
        self.steps += 1
        self._stack.append(step.process)
        try:
            step.run()
        except Crash as crash:
            if crash.process in self._stack[:-1]:
                raise  # it died inside a step of its own that is still under way
        finally:
            self._stack.pop()

    def _add_runner(self, start_at: Instant) -> None:
        self._born += 1
        workers = self.chance.choice((1, 2, 4))
        self.runners.append(RunnerProcess(self, f"r{self._born}", workers=workers, start_at=start_at))

    def _is_over(self) -> bool:
        return self.steps % 8 == 0 and self.trouble.is_over and self.client.is_done and not self.database.count_open()

    def _read_end(self) -> None:
        reading = self.client.door.reading
        page = reading.find(limit=1_000)
        for job in page.jobs:
            self.note(Kind.ENDED, id=job.id, state=job.state, token=int(job.result or 0))
        self.history += [Event(kind=Kind.COUNTED, state=state, n=n) for state, n in reading.counts().items()]
        self.history += self.database.moves()
