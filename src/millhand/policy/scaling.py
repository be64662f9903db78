"""How many workers an elastic pool should have: from what was seen of its load to the next size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from millhand.core.clock import Seconds

INTERVAL: Seconds = 0.1
"""How often a pool should look; while it is idle at its smallest size, it need not."""

SHORT: Seconds = 0.5
LONG: Seconds = 1.0
"""For how long a size is measured: short while climbing, long before anything else is decided."""

RESTF=3
REGRET=0.9
HALVE=1
SLOW: Seconds = 3.0
ENOUGH = 10
"""How many calls must have ended before their rate is believed; and two for each worker, so that all took part."""

AS_GOOD = 0.95
"""A rate of this share of the best is as good: noise of ±10 % an interval leaves ±2 % of a long window."""

TOO_BAD = 0.7
"""A neighbour of so small a share of the best rate hides nothing better between the two."""

OTHER = 1.5
"""A rate that changes by this factor at the same size is that of another load."""

SPARE_CORES = 0.8
"""Below this CPU use, neither the GIL nor the machine is what calls wait for."""

FINE = 1.25
"""Where the CPU is scarce, neighbours are measured up to this ratio."""

HEADROOM = 1.25
"""How many workers are kept for each one that was busy; and how much more than that is called a surplus."""

FIRST_REST: Seconds = 20.0
LAST_REST: Seconds = 300.0
"""How long a size that was found is kept before it is doubted: longer each time that nothing has changed."""


@dataclass(frozen=True, slots=True)
class Load:
    """This is what a pool saw since it last looked."""

    interval: Seconds
    """How long ago that was."""
    workers: int
    """Threads that count against the size (not those that are written off or hired as compensation), now."""
    waiting: int
    """Calls that a free worker could start, now: in the queue, or held up at its door."""
    completed: int
    """Calls that ended, however they did."""
    busy: Seconds
    """Time inside calls, summed over workers; the number of busy workers now, times `interval`, will do."""
    cpu: Seconds
    """CPU time of the whole process, so also of what is not the pool's."""


@dataclass(frozen=True, slots=True)
class Sample:
    """This is what was measured at one size while there was always a call waiting."""

    size: int
    seconds: Seconds = 0.0
    completed: int = 0
    cpu: Seconds = 0.0

    def __add__(self, more: Sample | Load) -> Sample:
        seconds = more.interval if isinstance(more, Load) else more.seconds
        return Sample(self.size, self.seconds + seconds, self.completed + more.completed, self.cpu + more.cpu)

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.completed / self.seconds

    @property
    def cores(self) -> float:
        """CPU seconds per second."""
        return self.cpu / self.seconds

    @property
    def has_spare_cpu(self) -> bool:
        """Whether calls wait for something else than the CPU or the GIL."""
        return self.cores < SPARE_CORES


@dataclass(frozen=True, slots=True)
class Scaling:
    """This finds the fewest workers that do (nearly) as many calls per second as any number between two bounds.

    Hill climbing on throughput, after the .NET thread pool (Hellerstein, Morrison, Eilebrecht: "Applying Control
    Theory in the Real World: Experience With Building a Controller for the .NET Thread Pool", 2010), begun with
    the doubling of TCP's slow start (RFC 5681). Not with .NET's steady wave, which Python's few, noisy samples
    drown: each size is measured once, and what is known lies in a table that is thrown away when the same size
    no longer gives the same rate.

    As long as calls wait, the size doubles while that brings more calls per second, or while too few calls end to
    tell and the CPU has room. Where the CPU has none (for pure Python that is one core), more workers may bring
    less: smaller and larger sizes are tried, then those between. With nothing left to try the size rests.
    As long as none wait, the size only shrinks, to what was needed in the last `idle_timeout`.

    Only what throughput tells makes a pool smaller while calls wait; CPU use only says where to look first. So
    another thread that burns the CPU costs a pool a trial, not its workers.

    Promised: the size lies between the bounds, at most doubles what was the largest so far, and shrinks only
    after a second at a size. Not promised: the best of several hills, nor anything about calls that take minutes
    of CPU, of which too few end to learn from.

    Args:
        low: the smallest size; also the first.
        high: the largest size.
        idle_timeout: for how long fewer workers must have been enough before the size shrinks.
        size: how many workers the pool may have now. The other fields are what the last loads have taught.
    """

    low: int
    high: int
    idle_timeout: Seconds = 10.0
    size: int = 0
    measured: tuple[Sample, ...] = ()
    now: Sample | None = None
    rest: Seconds = 0.0
    next_rest: Seconds = FIRST_REST
    surplus: Seconds = 0.0
    needed: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.low <= self.high and self.idle_timeout > 0):  # so that NaN is refused too
            raise ValueError(
                f"scaling needs 1 <= low <= high and idle_timeout > 0, "
                f"got low={self.low}, high={self.high}, idle_timeout={self.idle_timeout}"
            )
        object.__setattr__(self, "size", max(self.low, min(self.high, self.size)))

    def after(self, load: Load) -> Scaling:
        """Return what follows from one more look; its `size` is how many workers the pool may have from now on."""
        noted = self._note_need(load)
        if noted.surplus >= self.idle_timeout:
            return self._begin_at(math.ceil(noted.needed * HEADROOM))
        if not load.waiting or load.workers != self.size:  # nothing to learn; or still hiring, or still leaving
            return replace(noted, now=None)
        if self.now is None:  # calls that began before, and workers that have left, count in this look
            return replace(noted, now=Sample(self.size))
        return noted._judge(self.now + load, load)

    def _note_need(self, load: Load) -> Scaling:
        """Let time pass, and keep the most that was needed since there is a surplus."""
        rest = max(0.0, self.rest - load.interval)
        need = load.busy / load.interval if load.interval else 0.0
        if load.waiting or need * HEADROOM > self.size / HEADROOM:
            return replace(self, rest=rest, surplus=0.0, needed=0.0)
        return replace(self, rest=rest, surplus=self.surplus + load.interval, needed=max(self.needed, need))

    def _begin_at(self, size: int, *, next_rest: Seconds = FIRST_REST) -> Scaling:
        """Forget what was measured."""
        return Scaling(self.low, self.high, self.idle_timeout, size, next_rest=next_rest)

    def _judge(self, now: Sample, load: Load) -> Scaling:
        known = next((sample for sample in self.measured if sample.size == self.size), None)
        if now.seconds < SHORT:
            return replace(self, now=now)
        if known is not None:
            return self._doubt(now, known, load)
        is_climbing = all(sample.size < self.size for sample in self.measured)
        if not _is_enough(now, now.completed) and now.has_spare_cpu and is_climbing:
            return self._move(_more(now))  # calls of a second must not wait for thirty of them to end
        expected = max((sample.rate for sample in self.measured), default=0.0) * now.seconds
        if not _is_enough(now, max(now.completed, expected)) or not _ends_well(now, load):
            return replace(self, now=now)
        found = self._explore(now)
        can_wait = found.size < self.size or not is_climbing
        return replace(self, now=now) if can_wait and now.seconds < LONG else found

    def _move(self, size: int) -> Scaling:
        return replace(self, size=size, now=None)

    # At rest.

    def _doubt(self, now: Sample, known: Sample, load: Load) -> Scaling:
        """Begin again if this is another load than the one that was measured, or after a long rest."""
        expected = known.rate * now.seconds
        if abs(now.cores - known.cores) > 0.3 * max(1.0, known.cores):
            return self._begin_with(now)
        if not _is_enough(now, max(now.completed, expected) / RESTF) or not _ends_well(now, load):
            return replace(self, now=now)
        if not expected / OTHER < now.completed < expected * OTHER:
            return self._begin_with(now)
        if not self.rest:
            return self._begin_at(_best(self.measured).size, next_rest=self.next_rest)
        measured = tuple(sample + now if sample is known else sample for sample in self.measured)
        if (known + now).rate < REGRET * max(sample.rate for sample in self.measured):
            return self._begin_with(now)
        return replace(self, measured=measured, now=Sample(self.size))

    def _begin_with(self, now: Sample) -> Scaling:
        return self._begin_at(self.size if now.has_spare_cpu or not HALVE else self.size // 2)

    # On the way.

    def _explore(self, now: Sample) -> Scaling:
        """Go to the next size that is worth a trial; or to the one that was found, and rest."""
        measured = tuple(sorted((*self.measured, now), key=lambda sample: sample.size))
        size, rest, next_rest = self._untried(now, measured), 0.0, self.next_rest
        if size is None:
            size, rest, next_rest = _found(measured), self.next_rest, min(LAST_REST, 2 * self.next_rest)
        return replace(self._move(size), measured=measured, rest=rest, next_rest=next_rest)

    def _untried(self, now: Sample, measured: tuple[Sample, ...]) -> int | None:
        best = _best(measured)
        up = next((sample for sample in measured if sample.size > best.size), None)
        down = next((sample for sample in reversed(measured) if sample.size < best.size), None)
        step = 2.0 if self.next_rest == FIRST_REST else FINE
        hurts = up is not None and up.rate < best.rate * AS_GOOD
        tries: list[int] = []
        if down is None and (hurts or not best.has_spare_cpu):
            tries.append(int(best.size / (step if now.seconds < SLOW else FINE)))
        if up is None:
            tries.append(_more(best) if best.has_spare_cpu else math.ceil(best.size * step))
        near = [up] if up is not None and (hurts or not up.has_spare_cpu) else []
        near += [down] if down is not None and not best.has_spare_cpu else []
        near.sort(key=lambda sample: -sample.rate)
        tries += [_between(best, sample) for sample in near if sample.rate > best.rate * TOO_BAD]
        bounded = (max(self.low, min(self.high, size)) for size in tries)
        return next((size for size in bounded if all(size != sample.size for sample in measured)), None)


def _is_enough(sample: Sample, ended: float) -> bool:
    return ended >= max(ENOUGH, 2 * sample.size)


def _ends_well(sample: Sample, load: Load) -> bool:
    """Whether the last look saw calls end as often as the others, or more.

    Calls that began together end together; measuring up to just before they do would miss a whole generation.
    """
    return load.completed * sample.seconds >= 0.9 * sample.completed * load.interval


def _more(sample: Sample) -> int:
    """Return twice the size, or less where that would take more than one core."""
    return math.ceil(sample.size / max(0.5, sample.cores))


def _between(one: Sample, other: Sample) -> int:
    small, large = sorted((one, other), key=lambda sample: sample.size)
    if large.size <= FINE * small.size:
        return small.size
    is_knee_between = small.has_spare_cpu and not large.has_spare_cpu
    middle = _more(small) if is_knee_between else (small.size + large.size) // 2
    return min(middle, large.size - 1)


def _best(measured: tuple[Sample, ...]) -> Sample:
    """Return the smallest of the good ones."""
    top = max(sample.rate for sample in measured)
    return next(sample for sample in measured if sample.rate >= top * AS_GOOD)


def _found(measured: tuple[Sample, ...]) -> int:
    """Return the best size; where the CPU has room, the next one if that is as good.

    Workers that wait cost nothing there, and they are the first to gain when whatever holds them up gets faster,
    which shows as another load.
    """
    best = _best(measured)
    for one, other in pairwise(measured):
        if one is best and best.has_spare_cpu and other.rate >= best.rate * AS_GOOD:
            return other.size
    return best.size
