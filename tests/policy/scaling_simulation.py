"""A pool that exists only on paper: calls, workers, one GIL and a clock, so that a minute takes milliseconds."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from heapq import heappop, heappush
from itertools import count, pairwise

from millhand.core import Seconds
from millhand.policy.scaling import INTERVAL, Load, Scaling

PLENTY = 1_000
FED = 100
FEEDER = -1
FEEDER_RESTS: Seconds = 0.01
NOISE = 0.1


@dataclass(frozen=True, slots=True)
class Work:
    """This is what callers ask for: each call first waits for something outside, then wants the CPU."""

    wait: Seconds = 0.0
    cpu: Seconds = 0.0
    arrivals: float | None = None
    """Calls per second, evenly random; None: there is always a call waiting."""
    outside_limit: float = math.inf
    """How many calls the outside serves at once; the others stand in line there."""
    outside_loss: float = 0.0
    """Share of its speed that the outside loses with each call beyond that limit."""
    loss: float = 0.0
    """Share of the speed that is lost with each thread, after the first, that wants the GIL."""
    cores: int = 1
    """How many threads can use the CPU at once: one with a GIL."""
    neighbours: int = 0
    """Threads of the program, not of the pool, that always want the CPU."""
    spread: float = 0.1
    """How much the length of a call varies to either side."""
    feeding: Seconds | None = None
    """CPU time of the thread that submits calls, a hundred at once: it must have its turns like all others. None: there
    is always a call waiting, or `arrivals` says when one comes."""

    @property
    def is_endless(self) -> bool:
        """Whether there is always a call waiting."""
        return self.arrivals is None and self.feeding is None


IDLE = Work(arrivals=0.0)


@dataclass(slots=True)
class Plant:
    """This runs calls. Waiting takes its time; the CPU is shared evenly by all who want it."""

    chance: random.Random
    work: Work = IDLE
    time: Seconds = 0.0
    waiting: int = 0
    workers: int = 0
    running: int = 0
    completed: int = 0
    busy: Seconds = 0.0
    cpu: Seconds = 0.0
    _share: Seconds = 0.0
    """How much CPU time each thread would have had that wanted it since the beginning."""
    _next_arrival: Seconds = math.inf
    _outside: list[tuple[Seconds, int, Seconds]] = field(default_factory=list)
    _line: deque[tuple[Seconds, Seconds]] = field(default_factory=deque)
    _computing: list[tuple[Seconds, int]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def ask_for(self, work: Work) -> None:
        """Let other calls come from now on."""
        self.work = work
        self.waiting = PLENTY if work.is_endless else 0
        self._plan_arrival()

    def run(self, until: Seconds, size: int) -> None:
        """Run with at most so many workers; those too many leave when their call ends."""
        self.workers = min(self.workers, max(size, self.running))  # the idle ones leave at once
        self._start_calls(size)
        while (event := min(self._next_arrival, self._next_answer(), self._next_end())) <= until:
            self._pass(event - self.time)
            if event >= self._next_arrival:
                self._arrive()
            elif self._outside and event >= self._next_answer():
                self._compute(heappop(self._outside)[2])
            elif heappop(self._computing)[1] == FEEDER:
                self.waiting = FED
                self._next_arrival = self.time + FEEDER_RESTS
            else:
                self._end(size)
            self._start_calls(size)
        self._pass(until - self.time)

    def _arrive(self) -> None:
        if self.work.feeding is None:
            self.waiting += 1
            self._plan_arrival()
        else:
            heappush(self._computing, (self._share + self.work.feeding, FEEDER))
            self._next_arrival = math.inf  # until it has had its CPU time, and a rest

    def _plan_arrival(self) -> None:
        rate = self.work.arrivals
        first = math.inf if self.work.feeding is None else self.time
        self._next_arrival = self.time + self.chance.expovariate(rate) if rate else first

    def _next_answer(self) -> Seconds:
        return self._outside[0][0] if self._outside else math.inf

    def _next_end(self) -> Seconds:
        if not self._computing:
            return math.inf
        return self.time + max(0.0, self._computing[0][0] - self._share) / self._speed()

    def _speed(self) -> float:
        wanting = len(self._computing) + self.work.neighbours
        return min(1.0, self.work.cores / wanting) * (1 - self.work.loss) ** (wanting - 1)

    def _pass(self, seconds: Seconds) -> None:
        wanting = len(self._computing) + self.work.neighbours
        if wanting:
            self._share += seconds * self._speed()
        self.cpu += seconds * min(wanting, self.work.cores)
        self.busy += seconds * self.running
        self.time += seconds

    def _start_calls(self, size: int) -> None:
        while self.waiting and self.running < size:
            self.running += 1
            self.workers = max(self.workers, self.running)
            self.waiting -= not self.work.is_endless
            vary = self.chance.uniform(1 - self.work.spread, 1 + self.work.spread)
            self._line.append((self.work.wait * vary, self.work.cpu * vary))
        self._serve_line()

    def _serve_line(self) -> None:
        while self._line and len(self._outside) < self.work.outside_limit:
            wait, cpu = self._line.popleft()
            slow = (1 - self.work.outside_loss) ** len(self._line)
            if wait:
                heappush(self._outside, (self.time + wait / slow, next(self._numbers), cpu))
            else:
                self._compute(cpu)

    def _compute(self, cpu: Seconds) -> None:
        heappush(self._computing, (self._share + cpu, next(self._numbers)))

    def _end(self, size: int) -> None:
        self.running -= 1
        self.completed += 1
        if self.workers > size:
            self.workers -= 1


@dataclass(frozen=True, slots=True)
class Look:
    """This is what a run was like at one moment."""

    time: Seconds
    size: int
    completed: int
    waiting: int


def watch(
    *phases: tuple[Seconds, Work], scaling: Scaling, seed: int = 0, noise: float = NOISE, interval: Seconds = INTERVAL
) -> list[Look]:
    """Run one kind of work after another under the controller, and return every look."""
    chance = random.Random(seed)
    plant, looks, end = Plant(chance), [Look(0.0, scaling.size, 0, 0)], 0.0
    for seconds, work in phases:
        plant.ask_for(work)
        end += seconds
        while plant.time < end - interval / 2:
            before = plant.completed, plant.busy, plant.cpu
            plant.run(plant.time + interval, scaling.size)
            completed, busy, cpu = (
                (now - then) * chance.uniform(1 - noise, 1 + noise)
                for now, then in zip((plant.completed, plant.busy, plant.cpu), before, strict=True)
            )
            load = Load(interval, plant.workers, plant.waiting, round(completed), busy, cpu)
            scaling = scaling.after(load)
            looks.append(Look(plant.time, scaling.size, plant.completed, plant.waiting))
    return looks


def rate_between(looks: Sequence[Look], begin: Seconds, end: Seconds) -> float:
    """Return the calls per second that were completed between two moments."""
    first = next(look for look in looks if look.time >= begin - 1e-6)
    last = next(look for look in reversed(looks) if look.time <= end + 1e-6)
    return (last.completed - first.completed) / (last.time - first.time)


@cache
def best_fixed(work: Work, low: int, high: int, seconds: Seconds = 10.0) -> tuple[int, float]:
    """Return the fixed size that completes the most calls per second, of all between the bounds, and how many."""
    return max(((size, fixed_rate(work, size, seconds)) for size in range(low, high + 1)), key=lambda pair: pair[1])


@cache
def fixed_rate(work: Work, size: int, seconds: Seconds = 10.0) -> float:
    """Return the calls per second of a pool that keeps its size, once it is under way."""
    plant = Plant(random.Random(size))
    plant.ask_for(work)
    under_way = 2 * (work.wait + work.cpu * size)
    plant.run(under_way, size)
    before = plant.completed
    plant.run(under_way + seconds, size)
    return (plant.completed - before) / seconds


def changes(looks: Sequence[Look]) -> list[Look]:
    """Return the looks that changed the size."""
    return [after for before, after in pairwise(looks) if after.size != before.size]
