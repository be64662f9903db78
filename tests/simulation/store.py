"""The store as a simulated process sees it: the product's own, with a clock, a witness, and trouble on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import QueueFull
from millhand.core.job import Job, NewJob
from millhand.jobs.store import Claim, Ending, Reading, Rescue
from tests.auditor import Kind

if TYPE_CHECKING:
    from tests.simulation.database import Door
    from tests.simulation.process import Process

Answer = TypeVar("Answer")


class SimStore:
    """All five parts of a `Store` for one process.

    Every write: trouble before it (`Trouble.before`); then the product's own code with the time that the
    simulation gives; the witness writes down what was committed; trouble after it (`Trouble.after`), before
    the caller hears the answer.
    """

    def __init__(self, process: Process, door: Door) -> None:
        self._process, self._door, self._world = process, door, process.world
        self.intake = self.claims = self.control = self.housekeeping = self
        self.reading: Reading = SimReading(process, door.reading)

    # Intake

    def enqueue(
        self, jobs: Sequence[NewJob], *, limit: int | None = None, now: Instant | None = None
    ) -> list[QueueFull | None]:
        def note(refusals: Sequence[QueueFull | None]) -> None:
            for job, refusal in zip(jobs, refusals, strict=True):
                if refusal is not None:
                    self._world.note(Kind.REFUSED, id=job.id)

        return self._write("enqueue", lambda now: self._door.intake.enqueue(jobs, limit=limit, now=now), note)

    # Claims

    def claim(self, runner: str, *, room: int, types: Collection[str], now: Instant | None = None) -> Claim:
        def note(claim: Claim) -> None:
            for job in claim.jobs:
                self._world.note(Kind.CLAIMED, id=job.id, token=job.token, runner=runner)

        return self._write("claim", lambda now: self._door.claims.claim(runner, room=room, types=types, now=now), note)

    def finish(self, endings: Sequence[Ending], *, now: Instant | None = None) -> list[bool]:
        sent = self._world.trouble.repeat_some(self._process, endings)

        def note(accepted: Sequence[bool]) -> None:
            for ending, is_accepted in zip(sent, accepted, strict=True):
                self._world.note(
                    Kind.FINISHED, id=ending.id, token=ending.token, accepted=is_accepted, state=ending.state
                )

        answers = self._write("finish", lambda now: self._door.claims.finish(sent, now=now), note)
        return answers[: len(endings)]

    def release(self, held: Collection[tuple[str, int]], *, now: Instant | None = None) -> int:
        return self._write("release", lambda now: self._door.claims.release(held, now=now))

    def renew(self, runner: str, *, lease: Seconds, now: Instant | None = None) -> bool:
        def note(renewed: bool) -> None:
            if renewed:
                self._process.note_beat()

        return self._write("renew", lambda now: self._door.claims.renew(runner, lease=lease, now=now), note)

    def reconcile(self, runner: str, *, held: Collection[tuple[str, int]], now: Instant | None = None) -> int:
        return self._write("reconcile", lambda now: self._door.claims.reconcile(runner, held=held, now=now))

    def rescue(self, **whom: Any) -> list[Rescue]:
        def note(rescued: Sequence[Rescue]) -> None:
            for rescue in rescued:
                self._world.note(Kind.RESCUED, runner=rescue.runner)

        return self._write("rescue", lambda now: self._door.claims.rescue(**whom, now=now), note)

    def cancel_wishes(self, runner: str) -> list[str]:
        self._world.trouble.before_read(self._process)
        return self._door.claims.cancel_wishes(runner)

    # Control

    def cancel(self, id: str, *, now: Instant | None = None) -> Job:
        return self._write("cancel", lambda now: self._door.control.cancel(id, now=now))

    # Housekeeping

    def announce(self, runner: str, *, lease: Seconds, now: Instant | None = None) -> None:
        def note(unused: object) -> None:
            self._process.note_beat()

        self._write("announce", lambda now: self._door.housekeeping.announce(runner, lease=lease, now=now), note)

    def retire(self, runner: str, *, now: Instant | None = None) -> None:
        self._write("retire", lambda now: self._door.housekeeping.retire(runner, now=now))

    def declare_types(self, types: Collection[str]) -> None:
        self._door.housekeeping.declare_types(types)

    def on_commit(self, listener: Callable[[bool, Sequence[str]], None]) -> Callable[[], None]:
        return self._door.housekeeping.on_commit(listener)

    def close(self) -> None:
        """Do nothing: doors outlive histories."""

    def _write(
        self, name: str, call: Callable[[Instant], Answer], note: Callable[[Any], None] = lambda _: None
    ) -> Answer:
        trouble, writer = self._world.trouble, self._door.writer
        trouble.before(self._process, name)

        def before() -> None:
            writer.before, writer.after = _nothing, _nothing  # for this one transaction, not for those inside
            trouble.interleave(self._process)

        def after(answer: Any) -> None:
            note(answer)
            self._world.note_commit()
            trouble.after(self._process, name)

        writer.before, writer.after = before, after
        try:
            return call(self._world.clock.now())
        finally:
            writer.before, writer.after = _nothing, _nothing


class SimReading:
    """`Reading`, which fails while this process is cut off."""

    def __init__(self, process: Process, reading: Reading) -> None:
        self._process, self._reading = process, reading

    def __getattr__(self, name: str) -> Any:
        self._process.world.trouble.before_read(self._process)
        return getattr(self._reading, name)


def _nothing(*unused: object) -> None:
    pass
