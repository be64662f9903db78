"""Reading the store from coroutines: single jobs in batches, everything else in a few threads.

Guarantees:
    The event loop never waits for the store, so `/livez` answers whatever the database does.

Shutdown:
    `close` lets the reads under way end, for five seconds at most, and cancels the rest. Idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from millhand.core.clock import Seconds
from millhand.core.errors import JobNotFound
from millhand.core.job import Job
from millhand.jobs import Jobs
from millhand.server.batcher import LONGEST_CLOSE, Batcher

THREADS = 4
LONGEST_ID = 64

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


class Reads:
    """This looks things up for coroutines."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._single: Batcher[str, Job | None] = Batcher(self._get_all, name="millhand-get")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="millhand-read")
        self._under_way: set[Future[Any]] = set()
        self._polls: set[asyncio.Future[Job | None]] = set()

    @property
    def polls(self) -> int:
        """How many long polls wait."""
        return len(self._polls)

    async def job(self, id: str) -> Job:
        """Return a job as it stands. Raises JobNotFound."""
        if len(id) > LONGEST_ID or not id.isascii():
            raise JobNotFound(id[:LONGEST_ID])
        job = await self._single.ask(id)
        if job is None:
            raise JobNotFound(id)
        return job

    async def ended_job(self, id: str, seconds: Seconds, *, gone: Callable[[], asyncio.Future[object]]) -> Job:
        """Return a job once it has ended, or as it stands after so many seconds, or when `answer_polls` is called.

        Args:
            id: which job.
            seconds: the longest wait.
            gone: starts looking for the client's leaving, which ends the wait too.

        Raises:
            JobNotFound: there is no such job.
        """
        job = await self.job(id)
        if job.state.is_end or not seconds:
            return job
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Job | None] = loop.create_future()
        wishing = self._submit(self._jobs.watch.when_ended, id, _resolver(ended, loop))
        self._polls.add(ended)
        leaving = gone()
        try:
            ends: list[asyncio.Future[Any]] = [ended, leaving]
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._polls.discard(ended)
            leaving.cancel()
            wishing.add_done_callback(_take_back)
        return (ended.result() if ended.done() else None) or await self.job(id)

    def answer_polls(self) -> None:
        """End all waits of `ended_job` now."""
        for poll in self._polls:
            if not poll.done():
                poll.set_result(None)

    def run(
        self, function: Callable[Arguments, Returned], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> asyncio.Future[Returned]:
        """Return a future for a call in one of the reading threads."""
        return asyncio.wrap_future(self._submit(function, *args, **kwargs))

    def close(self) -> None:
        """Stop reading."""
        self._single.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        wait(self._under_way, LONGEST_CLOSE)  # and no longer: a store that hangs must not hold a stop up

    def _submit(
        self, function: Callable[Arguments, Returned], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Returned]:
        future = self._threads.submit(function, *args, **kwargs)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def _get_all(self, ids: list[str]) -> list[Job | None]:
        found = {job.id: job for job in self._jobs.store.reading.get_many(set(ids))}
        return [found.get(id) for id in ids]


def _resolver(ended: asyncio.Future[Job | None], loop: asyncio.AbstractEventLoop) -> Callable[[Job], None]:
    def resolve(job: Job) -> None:
        if not ended.done():
            ended.set_result(job)

    def tell(job: Job) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(resolve, job)

    return tell


def _take_back(wishing: Future[Callable[[], None]]) -> None:
    # The job may have been removed meanwhile, or the store failed: then there is no wish.
    if not wishing.cancelled() and wishing.exception() is None:
        wishing.result()()
