"""How many workers an elastic pool should have: from what was seen of its load to the next size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from millhand.core.clock import Seconds

INTERVAL: Seconds = 0.1
"""How often a pool should look; it need not while it is idle at its smallest size."""

SHORT: Seconds = 0.5
LONG: Seconds = 1.0
"""For how long a size is measured: short while the size climbs, long before it turns back."""

ENOUGH = 10
"""How many calls must have ended before their rate is believed; and two of each worker, so that all took part."""

AS_GOOD = 0.95
"""A rate of this share of the best is as good: noise of ±10 % in each look leaves ±2 % of a long measurement."""

TOO_BAD = 0.7
"""A size with less than this share of the best rate hides nothing better between itself and the best."""

OTHER = 1.5
OTHER_CPU = 0.3
"""If the rate at one size changes by this factor, or CPU use by so many cores, the load is another one."""

SPARE = 0.8
"""With fewer cores in use, it is neither the GIL nor the machine that calls wait for."""

FINE = 1.25
"""Where CPU is scarce, sizes are told apart up to this ratio."""

SLOW: Seconds = 3.0
"""If measuring a size takes as long, half the size is too dear a trial."""

HEADROOM = 1.25
"""How many workers are kept for each that was needed."""

PATIENCE: Seconds = 10.0
MOST_PATIENCE: Seconds = 300.0
"""A size that was found is doubted after it was measured for twice the first of these; each further time after twice
as long as before, up to the other one. Another load begins with the first again."""

UNKNOWN = ((0.0, math.inf),)
"""What was needed of a size that nobody has seen at work: perhaps more."""


@dataclass(frozen=True, slots=True)
class Load:
    """This is what a pool saw since it last looked."""

    interval: Seconds
    """How long ago that was."""
    workers: int
    """Threads that count against the size (not those written off or hired to compensate), now."""
    waiting: int
    """Calls that a free worker could start, now: in the queue, or held up at its door."""
    completed: int
    """Calls that ended, no matter how."""
    busy: Seconds
    """Time spent inside calls, summed over the workers; how many are inside one now, times `interval`, will do."""
    cpu: Seconds
    """CPU time that the workers used, if that can be told; or else the whole process."""

    @property
    def cpu_of_calls(self) -> Seconds:
        """How much of it the calls can have used: while none waits, workers may be idle, and somebody else computes."""
        return self.cpu if self.waiting else min(self.cpu, self.busy)

    @property
    def needed(self) -> float:
        """How many workers would have been enough."""
        return self.busy / self.interval if self.interval > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """This is what was measured at one size while calls waited all the time, for a worker or for the CPU."""

    size: int
    seconds: Seconds = 0.0
    completed: int = 0
    cpu: Seconds = 0.0

    def plus(self, seconds: Seconds, completed: int, cpu: Seconds) -> Sample:
        """Measure for longer."""
        return Sample(self.size, self.seconds + seconds, self.completed + completed, self.cpu + cpu)

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
        """Whether calls wait for something else than the GIL or the machine."""
        return self.cpu < SPARE * self.seconds

    @property
    def twice(self) -> int:
        """Twice the size; less if that many would want more than one core."""
        return math.ceil(self.size / max(0.5, self.cores))


@dataclass(frozen=True, slots=True)
class Scaling:
    """This finds the fewest workers that do nearly as many calls per second as any number between two bounds.

    Hill climbing on throughput, after the .NET thread pool (Hellerstein, Morrison, Eilebrecht: "Applying Control
    Theory in the Real World: Experience With Building a Controller for the .NET Thread Pool", 2010), begun with the
    doubling of TCP's slow start (RFC 5681). Not with .NET's steady wave, which would never come to rest: each size
    is measured once. When the same size gives another rate, or takes another share of the CPU, what was measured
    is forgotten, and the search begins again at half the size.

    While calls wait, the size doubles as long as that brings more calls per second, or as too few of them end to
    tell and there is CPU to spare. Where there is none (one core, for pure Python), more workers may do less:
    smaller and larger sizes are tried, then those between. When none is left to try, the size rests.
    Calls that use up the CPU count as waiting, for there the line may be empty because who fills it is kept from it.
    When it has been more than enough for `idle_timeout`, it shrinks to what was needed.

    CPU use only tells where to look first; it is throughput that decides. So a neighbour that burns the CPU costs
    a pool trials, not workers.

    Promised: a size is between the bounds, at most twice the largest so far, and left for a smaller one after a
    second at the earliest. Not promised: the highest of several hills, nor to learn fast from calls of which only
    a few a second end.

    Args:
        low: the smallest size, and the first one.
        high: the largest size.
        idle_timeout: for how long fewer workers must have been enough before the size shrinks.
        size: how many workers the pool may have now. It and all below it are what `after` carries on.
        measured: each size that was tried under this load, in order.
        now: what is being measured; None: nothing yet, since calls did not wait or the crew has another size.
        patience: for how long a size that was found must have been measured until it is doubted.
        needs: (age, workers needed) of each look of the last `idle_timeout` that needed more than all after it.
    """

    low: int
    high: int
    idle_timeout: Seconds = 10.0
    size: int = 0
    measured: tuple[Sample, ...] = ()
    now: Sample | None = None
    patience: Seconds = PATIENCE
    needs: tuple[tuple[Seconds, float], ...] = UNKNOWN

    def __post_init__(self) -> None:
        if not (1 <= self.low <= self.high and self.idle_timeout > 0):  # so that NaN is refused too
            raise ValueError(
                f"scaling needs 1 <= low <= high and idle_timeout > 0, "
                f"got low={self.low}, high={self.high}, idle_timeout={self.idle_timeout}"
            )
        object.__setattr__(self, "size", max(self.low, min(self.high, self.size)))

    def after(self, load: Load) -> Scaling:
        """Return what follows from one more look; its `size` is how many workers the pool may have from now on."""
        needs = self._needs_with(load)
        enough = self._enough(needs)
        if self.size > (enough if enough == self.low else enough * HEADROOM):
            return self._shrink(enough, needs)
        next_one = self._learn(load)
        return replace(next_one, needs=needs if next_one.size == self.size else UNKNOWN)

    # While fewer would do.

    def _needs_with(self, load: Load) -> tuple[tuple[Seconds, float], ...]:
        need = load.needed if load.waiting < self.size else self.size
        aged = ((age + load.interval, needed) for age, needed in self.needs)
        return (*((age, more) for age, more in aged if age < self.idle_timeout and more > need), (0.0, need))

    def _enough(self, needs: tuple[tuple[Seconds, float], ...]) -> int:
        """Return how many workers would have been enough all the time, with some to spare."""
        _, most = needs[0]
        return max(self.low, math.ceil(HEADROOM * min(most, self.high)))

    def _shrink(self, size: int, needs: tuple[tuple[Seconds, float], ...]) -> Scaling:
        # What was needed just before the surplus began is forgotten next: in one step, a second later.
        hold = max(0.0, self.idle_timeout - LONG)
        return replace(self._begin_at(size), needs=((hold, math.inf), *(pair for pair in needs if pair[0] < hold)))

    # While calls wait.

    def _learn(self, load: Load) -> Scaling:
        now = (self.now or Sample(self.size)).plus(load.interval, load.completed, load.cpu_of_calls)
        # Workers that compute keep the GIL from those who submit, the more the longer. Were a line that is empty at
        # times no full load, then where so many do harm nobody would ever find that out.
        is_full = load.waiting or not now.has_spare_cpu
        if not is_full or load.workers != self.size:  # nothing to learn; or still hiring, or still leaving
            return replace(self, now=None)
        if self.now is None:  # this look has also seen calls end of workers that have left, or of idle times
            return replace(self, now=Sample(self.size))
        return self._judge(now, load) if now.seconds >= SHORT else replace(self, now=now)

    def _judge(self, now: Sample, load: Load) -> Scaling:
        known = next((sample for sample in self.measured if sample.size == self.size), None)
        if known is not None:
            return self._doubt(now, known) if now.seconds >= LONG else replace(self, now=now)
        climbs = all(sample.size < self.size for sample in self.measured)
        if climbs and self.size < self.high and now.has_spare_cpu and not _is_enough(now, now.completed):
            return self._try(now.twice)  # calls of a second must not wait until enough of them have ended
        expected = max((sample.rate for sample in self.measured), default=0.0) * now.seconds
        if not _is_enough(now, max(now.completed, expected)) or not _ends_well(now, load):
            return replace(self, now=now)
        next_one = self._explore(now)
        is_due = now.seconds >= LONG or (climbs and now.has_spare_cpu and next_one.size >= self.size)
        return next_one if is_due else replace(self, now=now)

    def _doubt(self, now: Sample, known: Sample) -> Scaling:
        """Begin anew if this is not the load that was measured, or if that was long ago."""
        expected = known.rate * now.seconds
        # Three times as many calls as elsewhere: a false alarm costs a search.
        is_enough = _is_enough(now, max(now.completed, expected) / 3)
        is_other_rate = is_enough and not expected / OTHER < now.completed < expected * OTHER
        if is_other_rate or abs(now.cores - known.cores) > OTHER_CPU * max(1.0, known.cores):
            # At half the size, unseen: this may be a load under which so many do the more harm the longer they stay.
            return self._begin_at(self.size // 2)
        if not is_enough:
            return replace(self, now=now)
        more = known.plus(now.seconds, now.completed, now.cpu)
        if more.seconds > self.patience:
            return replace(self._begin_at(_best(self.measured).size), patience=self.patience)
        measured = tuple(more if sample is known else sample for sample in self.measured)
        return replace(self, measured=measured, now=Sample(self.size))

    @property
    def _is_new(self) -> bool:
        """Whether no size was found for this load so far."""
        return self.patience == PATIENCE

    def _begin_at(self, size: int) -> Scaling:
        return replace(self._try(size), measured=(), patience=PATIENCE)

    def _try(self, size: int) -> Scaling:
        return replace(self, size=size, now=None)

    def _explore(self, now: Sample) -> Scaling:
        """Go to the next size that is worth a trial; or to the one that was found, and rest."""
        measured = tuple(sorted((*self.measured, now), key=lambda sample: sample.size))
        sizes = (max(self.low, min(self.high, size)) for size in self._candidates(measured, now))
        for size in sizes:
            if all(size != sample.size for sample in measured):
                return replace(self._try(size), measured=measured)
        patience = min(MOST_PATIENCE, 2 * self.patience)
        return replace(self._try(_found(measured)), measured=measured, patience=patience)

    def _candidates(self, measured: tuple[Sample, ...], now: Sample) -> list[int]:
        best = _best(measured)
        down = next((sample for sample in reversed(measured) if sample.size < best.size), None)
        up = next((sample for sample in measured if sample.size > best.size), None)
        hurts = up is not None and up.rate < best.rate * AS_GOOD
        step = 2.0 if self._is_new else FINE  # what was found once is looked for nearby
        sizes = []
        if down is None and (hurts or not best.has_spare_cpu):
            sizes.append(int(best.size / (step if now.seconds < SLOW else FINE)))
        if up is None:
            sizes.append(best.twice if best.has_spare_cpu else math.ceil(best.size * step))
        near = [up] if up is not None and (hurts or not up.has_spare_cpu) else []
        near += [down] if down is not None and not best.has_spare_cpu else []
        return sizes + [_between(best, sample) for sample in near if sample.rate > best.rate * TOO_BAD]


def _is_enough(sample: Sample, ended: float) -> bool:
    return ended >= max(ENOUGH, 2 * sample.size)


def _ends_well(sample: Sample, load: Load) -> bool:
    """Whether the last look saw (nearly) as many calls end as the others, or more.

    Calls that began together end together; to stop just before they do would miss a whole generation.
    """
    return load.completed * sample.seconds >= 0.9 * sample.completed * load.interval


def _best(measured: tuple[Sample, ...]) -> Sample:
    """Return the smallest of the good ones."""
    top = max(sample.rate for sample in measured)
    return next(sample for sample in measured if sample.rate >= top * AS_GOOD)


def _between(one: Sample, other: Sample) -> int:
    """Return the size between two where the best is to be expected; one of the two if they are close."""
    small, large = sorted((one, other), key=lambda sample: sample.size)
    if large.size <= FINE * small.size:
        return small.size
    return (small.size + large.size) // 2


def _found(measured: tuple[Sample, ...]) -> int:
    """Return the best size; with CPU to spare, the next one if that is as good.

    Workers that only wait harm nobody there, and they are the first to gain when what they wait for gets faster,
    which shows as another load.
    """
    best = _best(measured)
    up = next((sample for sample in measured if sample.size > best.size), best)
    return up.size if best.has_spare_cpu and up.rate >= best.rate * AS_GOOD else best.size
