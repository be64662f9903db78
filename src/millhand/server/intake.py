"""Where submitted jobs go into the store: in batches, and waiting for room while the queue is full.

Guarantees:
    `keep` returns after the commit that holds the job, or raises; there is no third way.
    While somebody waits for room, later jobs line up behind (those of a batch under way excepted).
    At most `max_waiting` jobs wait here, for whatever reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from millhand.core.clock import Seconds
from millhand.core.errors import QueueFull
from millhand.core.job import NewJob
from millhand.jobs.store import Intake
from millhand.server.batcher import Batcher
from millhand.server.settings import ServerSettings

ASK_FOR_ROOM_EVERY: Seconds = 0.05
"""How often a full queue is asked again; a runner in another process makes room without telling us."""
LARGEST_BATCH = 1000


@dataclass(slots=True, eq=False)
class _Waiting:
    """A job for which there was no room yet."""

    job: NewJob
    until: float
    kept: asyncio.Future[None]
    refusal: QueueFull | None = None


class IntakeDoor:
    """This keeps jobs for coroutines."""

    def __init__(
        self, intake: Callable[[], Intake], settings: ServerSettings, note_size: Callable[[int], None]
    ) -> None:
        limit = settings.queue_size
        self._limit = settings.max_waiting
        self._room_wait = min(settings.room_wait, settings.http_timeout / 2)
        self._batcher: Batcher[NewJob, QueueFull | None] = Batcher(
            lambda jobs: intake().enqueue(jobs, limit=limit),
            name="millhand-intake",
            most=LARGEST_BATCH,
            note_size=note_size,
        )
        self._refused: deque[_Waiting] = deque()
        self._asking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many jobs wait here for their commit to begin, or for room."""
        return self._batcher.waiting + len(self._refused)

    async def keep(self, job: NewJob) -> None:
        """Return when the job is on disk.

        Raises:
            QueueFull: after waiting for room, or at once when too many wait already.
            StoreError: the store refused; nothing was kept.
        """
        if self._batcher.waiting + len(self._refused) >= self._limit:
            raise QueueFull(self.waiting, self._limit, "too many requests wait already; try again later")
        refusal: QueueFull | None = None
        if not self._refused:
            refusal = await self._batcher.ask(job)
            if refusal is None:
                return
            if not self._room_wait:
                raise refusal
        await self._wait_for_room(job, refusal)

    def close(self) -> None:
        """Stop asking; those who still wait are cancelled. Idempotent."""
        self._batcher.close()

    async def _wait_for_room(self, job: NewJob, refusal: QueueFull | None) -> None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, loop.time() + self._room_wait, loop.create_future(), refusal)
        self._refused.append(waiting)
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_until_nobody_waits(), name="millhand-room")
        await waiting.kept

    async def _ask_until_nobody_waits(self) -> None:
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        while self._refused:
            await asyncio.wait([nothing], timeout=ASK_FOR_ROOM_EVERY)
            await self._ask_again()
            # Those who were told, and those whose request was ended from outside, leave the line.
            self._refused = deque(waiting for waiting in self._refused if not waiting.kept.done())

    async def _ask_again(self) -> None:
        first = [waiting for waiting in islice(self._refused, LARGEST_BATCH) if not waiting.kept.done()]
        answers = await asyncio.gather(*(self._batcher.ask(waiting.job) for waiting in first), return_exceptions=True)
        now = asyncio.get_running_loop().time()
        for waiting, answer in zip(first, answers, strict=True):
            if waiting.kept.done():
                continue
            if answer is None:
                waiting.kept.set_result(None)
            elif isinstance(answer, QueueFull):
                waiting.refusal = answer
            else:
                waiting.kept.set_exception(answer)
        for waiting in self._refused:
            if waiting.until <= now and not waiting.kept.done():
                waiting.kept.set_exception(waiting.refusal or QueueFull(self.waiting, self._limit))
