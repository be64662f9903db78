"""Trouble: what the weather of a seed does to calls of the store, and the disasters that strike whole processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from millhand.core.clock import Instant
from millhand.core.errors import StoreError
from millhand.jobs.store import Ending
from tests.simulation.process import Process
from tests.simulation.runner import RunnerProcess

if TYPE_CHECKING:
    from tests.simulation.weather import Weather
    from tests.simulation.world import World


class Trouble:
    """This decides, by the seed's chance alone, what goes wrong now."""

    def __init__(self, world: World, weather: Weather) -> None:
        self._world, self._weather, self._chance = world, weather, world.chance
        self._refusing_until: Instant = 0.0
        times = sorted(self._chance.uniform(0.0, weather.trouble_until) for _ in range(weather.disasters))
        self._disasters: list[tuple[Instant, RunnerProcess | None]] = [(time, None) for time in times]

    @property
    def is_over(self) -> bool:
        """Whether all is healed, and stays so."""
        return self._world.clock.monotonic() >= self._weather.trouble_until

    def next_due(self) -> Instant:
        """Return when the next disaster strikes."""
        return min(self._disasters, key=_time_of, default=(float("inf"), None))[0]

    def _happens(self, rate: float) -> bool:
        return rate > 0.0 and self._chance.random() < rate and not self.is_over

    # What happens to a call.

    def before(self, process: Process, name: str) -> None:
        """Let happen what happens before a write: it then has not been done, or is done later."""
        weather = self._weather
        if self._world.clock.monotonic() < self._refusing_until:
            raise StoreError("the disk is full")
        self.before_read(process)
        if self._happens(weather.refuse):
            self._fail(process, name, "refused")
        if self._happens(weather.crash_before) and isinstance(process, RunnerProcess):
            process.crash()
        if self._happens(weather.lock) and self._world.depth == 1:
            self._world.clock.advance_to(self._world.clock.monotonic() + weather.lock_time(self._chance))
        if self._happens(weather.stop_short):
            self._stop_short(process, name)
        self.interleave(process)

    def after(self, process: Process, name: str) -> None:
        """Let happen what happens between a commit and its answer."""
        self.interleave(process)
        if self._happens(self._weather.crash_after) and isinstance(process, RunnerProcess):
            process.crash()
        if self._happens(self._weather.stop_short):
            self._stop_short(process, name)
        if self._happens(self._weather.lose_answer):
            self._fail(process, name, "the answer was lost")

    def before_read(self, process: Process) -> None:
        """Refuse everything to a process that is cut off."""
        if self._world.clock.monotonic() < process.cut_off_until:
            process.note_silent()
            raise StoreError("cut off")

    def interleave(self, process: Process) -> None:
        """Let others, and the other threads of this process, take a few steps here."""
        while self._happens(self._weather.interleave):
            self._world.step_inside(process)

    def repeat_some(self, process: Process, endings: Sequence[Ending]) -> Sequence[Ending]:
        """Return the endings of a runner as the store gets them; some are to come again later."""
        if not isinstance(process, RunnerProcess):
            return endings
        if self._happens(self._weather.repeat):
            later = self._chance.choice((0.0, 0.1, 5.0, 20.0))
            self._world.client.deliver_again(endings, self._world.clock.monotonic() + later)
        if self._happens(self._weather.repeat / 4):
            return [*endings, self._chance.choice(endings)]
        return endings

    def loses_news(self) -> bool:
        """Tell whether this wake-up is lost."""
        return self._happens(self._weather.lose_news)

    def starves_settling(self) -> bool:
        """Tell whether the settling thread has to wait for seconds now."""
        return self._happens(self._weather.starve_settling)

    def lingers(self) -> bool:
        """Tell whether time moves on although there is something to do."""
        return self._chance.random() < self._weather.linger

    def is_unnoticed(self) -> bool:
        """Tell whether the death that happens now can only be told by the lease."""
        return self._chance.random() < self._weather.unnoticed

    def _fail(self, process: Process, name: str, reason: str) -> None:
        if name in {"renew", "announce"}:
            process.note_silent()
        raise StoreError(reason)

    def _stop_short(self, process: Process, name: str) -> None:
        """Stand still right here for a while: the whole process, or only this thread of it."""
        if self._world.depth > 1:
            return
        until = self._world.clock.monotonic() + self._chance.choice((2.0, 18.0, 35.0))
        whole = self._chance.random() < 0.5
        if whole:
            process.frozen_until = until
        if whole or name in {"renew", "announce", "rescue"}:
            process.note_silent()
        while (
            until := max(until, process.frozen_until)
        ) > self._world.clock.monotonic() and not self._world.is_spinning:
            self._world.run_inside(process, until)

    # What happens to processes.

    def strike(self) -> None:
        """Let one disaster happen to somebody."""
        self._disasters.sort(key=_time_of)
        _, doomed = self._disasters.pop(0)
        if doomed is not None:
            if doomed.alive:
                self._world.kill(doomed)
            return
        runners = [runner for runner in self._world.runners if runner.alive]
        now = self._world.clock.monotonic()
        match self._chance.choice(
            ("kill", "kill", "stall", "deafen", "deafen", "cut off", "full disk", "stop", "stop")
        ):
            case "full disk":
                self._refusing_until = now + self._chance.choice((4.0, 12.0, 25.0))
            case _ if not runners:
                pass
            case what:
                self._strike_one(what, self._chance.choice(runners), now)

    def _strike_one(self, what: str, runner: RunnerProcess, now: Instant) -> None:
        long = self._chance.choice((3.0, 18.0, 40.0))
        match what:
            case "kill":
                self._world.kill(runner)
            case "stall":
                runner.frozen_until = now + long
                runner.note_silent()
            case "deafen":  # only its beats stop, all else goes on
                runner.beat_thread.starved_until = now + long
                if self._chance.random() < 0.7:  # it dies as a zombie, with what it claimed after its rescue
                    self._disasters.append((now + long * self._chance.uniform(0.5, 1.0), runner))
                runner.note_silent()
            case "cut off":
                runner.cut_off_until = now + long
            case _:
                runner.stop_at = now


def _time_of(disaster: tuple[Instant, RunnerProcess | None]) -> Instant:
    return disaster[0]
