"""What all simulated processes share: being alive, frozen, cut off from the store, or dead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from millhand.core.clock import Instant
from tests.simulation.step import Crash, Step
from tests.simulation.store import SimStore

if TYPE_CHECKING:
    from tests.simulation.world import World


class Process:
    """Somebody with a store of its own. Subclasses say what it can do and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.frozen_until: Instant = 0.0
        self.cut_off_until: Instant = 0.0
        self.door = world.database.take_door()
        self.store = SimStore(self, self.door)

    def steps(self, now: Instant) -> Iterator[Step]:
        """Yield what it can do now."""
        raise NotImplementedError

    def next_due(self) -> Instant:
        """Return when it can do something next."""
        raise NotImplementedError

    def note_silent(self) -> None:
        """Write down that it may from now on look dead, and that this is nobody else's fault."""

    def note_beat(self) -> None:
        """Write down that the store took its sign of life."""

    def note_commit(self, now: Instant) -> None:
        """Learn that somebody changed something in the store."""

    def die(self) -> None:
        """End here and now, wherever it stood."""
        raise NotImplementedError

    def crash(self) -> NoReturn:
        """Die, and unwind whatever it was doing."""
        self.die()
        raise Crash(self)
