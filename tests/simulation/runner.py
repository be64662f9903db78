"""A runner process: the product's own duties and presence, stepped by the schedule instead of by threads."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from millhand.core.clock import Instant
from millhand.core.errors import StoreError
from millhand.core.job import ClaimedJob
from millhand.jobs.presence import Presence
from millhand.jobs.registry import Registry
from millhand.policy.backoff import Backoff
from millhand.policy.retry import Retry
from millhand.runner.duty import NEVER, Bell, Duty, Together
from millhand.runner.runner import Duties
from tests.auditor import Kind
from tests.simulation.pool import SimPool, performing
from tests.simulation.process import Process
from tests.simulation.step import Step

if TYPE_CHECKING:
    from tests.simulation.world import World

LATEST = 1.0
"""No step of a process that is well comes later than this: a beat in time is what the lease is about."""
A_LOOK = 0.06
"""A duty that wants to be called again this soon is only looking whether somebody committed something."""


def work(n: int) -> object:
    """Do what the schedule wants this attempt to do."""
    return performing.get()()


def make_registry() -> Registry:
    """Return the types that every simulated runner knows."""
    registry = Registry()
    retry = Retry(backoff=Backoff(base=0.5, cap=4.0))
    registry.add(work, retry=retry)
    registry.add(work, "any-*", retry=retry)
    return registry


REGISTRY = make_registry()


class SimBell(Bell):
    """A bell that shows since when it rings."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.rung_at: Instant = NEVER

    def ring(self) -> None:
        self.rung_at = min(self.rung_at, self._world.clock.monotonic())

    def clear(self) -> None:
        self.rung_at = NEVER


class SimThread:
    """What `DutyThread` does with a duty, one step at a time."""

    def __init__(self, process: RunnerProcess, name: str, duty: Duty, bell: SimBell) -> None:
        self.name, self.bell = name, bell
        self.is_stepping = False
        self.starved_until: Instant = 0.0
        self.looks_only = False
        self._process, self._duty, self._world = process, duty, process.world
        self.wake_at: Instant = NEVER  # until the process has started

    @property
    def due(self) -> Instant:
        """When it wants to be called."""
        wanted, rung = self.wake_at, self.bell.rung_at
        wanted = rung if rung < wanted else wanted
        return wanted if wanted > self.starved_until else self.starved_until

    def step(self) -> None:
        """Call the duty once."""
        self.is_stepping = True
        self.bell.clear()
        now = self._world.clock.monotonic()
        try:
            due = self._duty.step(now)
        except StoreError:  # reading failed: `DutyThread` logs it and tries again
            due = self._world.clock.monotonic() + 1.0
        except Exception as error:
            self._world.note(Kind.RAISED, runner=self._process.runner, text=f"{error!r} in {self.name}")
            due = self._world.clock.monotonic() + 1.0
        finally:
            self.is_stepping = False
        self._sleep(due, now)

    def note_commit(self, now: Instant) -> None:
        """Look soon, if it was only waiting for somebody to commit something."""
        if self.looks_only:
            self.wake_at = min(self.wake_at, now + self._world.chance.choice((0.0, 0.002, 0.02)))

    def _sleep(self, due: Instant, now: Instant) -> None:
        chance = self._world.chance
        self.looks_only = now < due <= now + A_LOOK
        # Looks at a store that nobody changes are left out, all but one a second: they would find nothing.
        late = chance.uniform(0.0, LATEST) if self.looks_only else chance.choice((0.0, 0.0, 0.01, 0.2))
        self.wake_at = due + late


class RunnerProcess(Process):
    """A runner, from its announcement to its death."""

    def __init__(self, world: World, runner: str, *, workers: int, start_at: Instant) -> None:
        super().__init__(world)
        self.alive = False
        self.runner = runner
        self._start_at = start_at
        self._is_silent = False
        self.stop_at: Instant = NEVER
        pool = SimPool(self, workers)
        chance = random.Random(world.chance.random())
        self.pool = pool
        self.duties = Duties(self.store, REGISTRY, pool, runner, workers=workers, chance=chance)
        self.duties.claim.bell = claim_bell = SimBell(world)
        self.duties.settle.bell = settle_bell = SimBell(world)
        self.presence = Presence(self.store, runner)
        care = Together(self.duties.wishes, self.duties.reconcile)
        self.threads = [
            SimThread(self, "claim", self.duties.claim, claim_bell),
            SimThread(self, "settle", self.duties.settle, settle_bell),
            SimThread(self, "care", care, SimBell(world)),
            SimThread(self, "beat", self.presence, SimBell(world)),
        ]
        self.beat_thread = self.threads[-1]
        self._can_stop = False
        self._forget_commits = self.store.on_commit(self._note_own_commit)

    def start(self) -> None:
        """Announce itself; one that cannot ends at once, as the program would."""
        self.alive = True
        self._start_at = NEVER
        try:
            self.presence.announce()
        except StoreError:
            self.die()
        self._can_stop = True
        for thread in self.threads:
            thread.wake_at = self.world.clock.monotonic()

    def steps(self, now: Instant) -> Iterator[Step]:
        """See `Process.steps`."""
        if self._start_at <= now:
            yield Step(self, "start", self._start_at, self.start)
        if not self.alive or now < self.frozen_until:
            return
        if self._stop_due() <= now:
            yield Step(self, "stop", self.stop_at, self._stop)
        for thread in self.threads:
            if thread.due <= now and not self._must_wait(thread):
                yield Step(self, thread.name, thread.due, thread.step)
        yield from self.pool.steps(now)

    def next_due(self) -> Instant:
        """See `Process.next_due`."""
        if not self.alive:
            return self._start_at
        dues = [thread.due for thread in self.threads if not self._must_wait(thread)]
        return max(self.frozen_until, min([*dues, self.pool.next_due(), self._stop_due()]))

    def note_silent(self) -> None:
        """See `Process.note_silent`."""
        if not self._is_silent:
            self._is_silent = True
            self.world.note(Kind.SILENT, runner=self.runner)

    def note_beat(self) -> None:
        """Write down that the store took a sign of life."""
        self._is_silent = False
        self.world.note(Kind.BEAT, runner=self.runner)
        now = self.world.clock.monotonic()
        if now < max(self.frozen_until, self.cut_off_until, self.beat_thread.starved_until):
            self.note_silent()  # it was the last for a while

    def note_commit(self, now: Instant) -> None:
        """See `Process.note_commit`."""
        for thread in self.threads:
            thread.note_commit(now)

    def die(self) -> None:
        """See `Process.die`. Its death lock is free then, unless nobody can tell that it died."""
        if self.world.trouble.is_unnoticed():
            self.door.locks.vanish()
        else:
            self.door.locks.die()
        self._end()

    def leave(self) -> None:
        """Take its hands off the door, which others will use."""
        self._forget_commits()
        self._forget_commits = lambda: None

    def _stop(self) -> None:
        """Do what `Runner.stop` does when the grace is over, then end the process."""
        self._can_stop = False  # once is enough
        self.duties.claim.stop()
        self._give_back(self.duties.attempts.take_back())
        self.world.note(Kind.STOPPED, runner=self.runner)
        self._give_back(self.duties.attempts.abandon())
        for thread in self.threads[:-1]:  # all but the beat
            thread.starved_until = NEVER
        self._bring_back_last_outcomes()
        try:
            self.presence.retire()
        except StoreError:
            self.door.locks.close()
        self._end()

    def _end(self) -> None:
        self.alive = False
        self.leave()
        self.world.note(Kind.DIED, runner=self.runner)
        self.world.note_death(self)

    def _must_wait(self, thread: SimThread) -> bool:
        """Tell whether the thread is inside a step, or would wait for a lock that one inside a step holds."""
        wants_lock = thread.name in {"claim", "care"}
        return thread.is_stepping or (wants_lock and self.duties.claim.claiming.locked())

    def _stop_due(self) -> Instant:
        if self.stop_at == NEVER or not self._can_stop or any(thread.is_stepping for thread in self.threads):
            return NEVER
        return self.stop_at

    def _note_own_commit(self, arrived: bool, ended: Collection[str]) -> None:
        if arrived and not self.world.trouble.loses_news():
            self.duties.claim.note_arrival()

    def _give_back(self, jobs: Sequence[ClaimedJob]) -> None:
        try:
            if jobs:
                self.store.release([(job.id, job.token) for job in jobs])
        except StoreError:
            pass  # they wait for a rescue

    def _bring_back_last_outcomes(self) -> None:
        settle, now = self.duties.settle, self.world.clock.monotonic()
        while settle.held and settle.step(now) <= now:
            pass
