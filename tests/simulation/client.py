"""Somebody who submits, submits again when in doubt, cancels, and never gives up until it knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from millhand.core.clock import Instant
from millhand.core.errors import JobNotFound, StoreError
from millhand.core.job import NewJob
from millhand.jobs.store import Ending
from tests.auditor import Kind
from tests.simulation.process import Process
from tests.simulation.step import Step

if TYPE_CHECKING:
    from tests.simulation.world import World

TRY_AGAIN_AFTER = 0.7
UNFIT = "unfit"
"""How the id of a job begins whose arguments its function refuses: it fails at once, without any effect."""


class Request:
    """Something the client will do at a time of its own."""

    def __init__(self, name: str, at: Instant) -> None:
        self.name, self.at = name, at
        self.is_under_way = False


class ClientProcess(Process):
    """Each request is a thread of its own; the client outlives everybody."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._limit = world.chance.choice((None, None, 10))
        self._requests: list[tuple[Request, object]] = []
        self.ids: list[str] = []
        """Of every job that it submits or will submit."""
        self._plan()

    @property
    def is_done(self) -> bool:
        """Whether it has asked for everything and knows the answers."""
        return not self._requests

    def steps(self, now: Instant) -> Iterator[Step]:
        """See `Process.steps`."""
        for request, subject in list(self._requests):
            if request.at <= now and not request.is_under_way:
                yield Step(self, request.name, request.at, lambda r=request, s=subject: self._do(r, s))

    def next_due(self) -> Instant:
        """See `Process.next_due`."""
        dues = (request.at for request, _ in self._requests if not request.is_under_way)
        return min(dues, default=float("inf"))

    def deliver_again(self, endings: Sequence[Ending], at: Instant) -> None:
        """Bring the same finish once more at a later time, as a network might."""
        self._requests.append((Request("deliver again", at), endings))

    def _plan(self) -> None:
        chance = self.world.chance
        for number, size in enumerate(chance.choices((1, 2, 5, 9), k=chance.randint(3, 6))):
            jobs = [self._draw_job(f"{number}-{index}") for index in range(size)]
            if chance.random() < 0.2:
                jobs.append(jobs[0])
            at = chance.choice((0.0, chance.uniform(0.0, 35.0)))
            self._requests.append((Request("submit", at), jobs))
            if chance.random() < 0.3:
                self._requests.append((Request("submit", at + chance.uniform(0.0, 10.0)), jobs))
            self.ids += [job.id for job in jobs]
        for _ in range(chance.choice((0, 1, 4))):
            self._requests.append((Request("cancel", chance.uniform(0.0, 25.0)), chance.choice(self.ids)))

    def _draw_job(self, number: str) -> NewJob:
        chance = self.world.chance
        fits = chance.random() < 0.9
        return NewJob(
            id=f"job-{number}" if fits else f"{UNFIT}-{number}",
            type=chance.choice(("work", "any-thing")),
            payload='{"n":1}' if fits else '{"m":1}',
            queue=chance.choice(("default", "mail")),
            priority=chance.choice((0, 0, 1, -1)),
            delay=chance.choice((0.0, 0.0, 0.0, 0.3, 8.0)),
            timeout=chance.choice((None, None, 0.5, 5.0)),
            max_attempts=chance.choice((1, 2, 4)),
        )

    def _do(self, request: Request, subject: object) -> None:
        request.is_under_way = True
        try:
            match request.name:
                case "submit":
                    self._submit(subject)
                case "cancel":
                    self.store.cancel(subject)
                case _:
                    self.store.finish(subject)
        except JobNotFound:
            pass
        except StoreError:
            request.at = self.world.clock.monotonic() + TRY_AGAIN_AFTER
            return
        finally:
            request.is_under_way = False
        self._requests = [(other, about) for other, about in self._requests if other is not request]

    def _submit(self, jobs: Sequence[NewJob]) -> None:
        for job in jobs:
            self.world.note(Kind.SUBMITTED, id=job.id)
        refusals = self.store.enqueue(jobs, limit=self._limit)
        for job, refusal in zip(jobs, refusals, strict=True):
            if refusal is None:
                self.world.note(Kind.ACKNOWLEDGED, id=job.id)
