"""The runner: takes kept jobs, runs them in a pool, brings their outcomes back.

Guarantees:
    It holds no more jobs than its workers can run, plus 20 ms of work ahead.
    An outcome counts only with the token of its claim; a runner that was taken for dead changes nothing.

Shutdown (`stop`):
    1. Claim no more. 2. Give back what has not begun. 3. Let running jobs finish, up to the grace.
    4. Ask the rest to stop and give them back, uncounted. 5. Bring back the last outcomes. 6. Retire.
    7. End the threads. A handler that does not return keeps its thread until the program ends.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from types import TracebackType

from millhand.core.clock import Clock, Seconds, SystemClock
from millhand.core.errors import StoreError
from millhand.core.job import ClaimedJob
from millhand.jobs.ids import new_id
from millhand.jobs.jobs import Jobs
from millhand.jobs.presence import BEAT, LEASE, Presence
from millhand.jobs.registry import Registry
from millhand.jobs.store import Store
from millhand.pool import ThreadPool
from millhand.runner.attempt import Attempts, TaskPool
from millhand.runner.claim import ClaimDuty
from millhand.runner.duty import Bell, Duty, DutyThread, Together
from millhand.runner.reconcile import Reconcile
from millhand.runner.settle import Settle
from millhand.runner.wishes import Wishes

log = logging.getLogger("millhand")


class Duties:
    """All that a runner does, put together and driven by nothing yet: threads do here, a schedule in the simulator."""

    def __init__(  # noqa: PLR0913 - called by the runner and by the simulator, nobody else
        self,
        store: Store,
        registry: Registry,
        pool: TaskPool,
        runner: str,
        *,
        workers: int,
        chance: random.Random,
        job_timeout: Seconds | None = None,
    ) -> None:
        self.settle = Settle(store.claims, chance)
        self.attempts = Attempts(pool, self.settle.add, self._note_end, job_timeout)
        self.claim = ClaimDuty(store, registry, self.attempts, runner, workers=workers)
        self.wishes = Wishes(store, self.attempts, runner)
        self.reconcile = Reconcile(store, self.claim, self.attempts, self.settle, runner)
        self.ended = Bell()

    def _note_end(self) -> None:
        self.claim.note_ended()
        self.ended.ring()


class Runner:
    """Runs the jobs of a `Jobs` inside this program, on threads, until the `with` block ends.

    Any number of runners, in any number of processes, may share a database. This one beats from a thread: a
    handler whose C code holds the GIL for longer than the lease (15 s) lets it be taken for dead, and its
    jobs run elsewhere. `millhand run` has a process of its own for that, and knows no such limit.

    Args:
        jobs: whose registered types are run.
        workers: how many jobs run at once.
        job_timeout: how long an attempt may take where neither its job nor its type says; None: no limit.
        id: only for a runner under a supervisor, which has announced it and beats for it.

    Raises:
        ValueError: when `workers` is less than 1, or `job_timeout` not above 0.
        StoreError: on start, when the database cannot be used.
    """

    def __init__(
        self, jobs: Jobs, *, workers: int = 8, job_timeout: Seconds | None = None, id: str | None = None
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if job_timeout is not None and not job_timeout > 0:
            raise ValueError(f"job_timeout must be more than 0 seconds, or None, got {job_timeout}")
        self.id = id or f"r-{new_id()}"
        self.workers = workers
        self._jobs = jobs
        self._store = jobs.store
        self._clock: Clock = SystemClock()
        self._presence = None if id else Presence(self._store, self.id, lease=LEASE, beat=BEAT)
        self._pool = ThreadPool(workers, thread_name_prefix="millhand-worker", queue_size=None)
        self.duties = Duties(
            self._store,
            jobs.registry,
            self._pool,
            self.id,
            workers=workers,
            chance=random.Random(),
            job_timeout=job_timeout,
        )
        self._working: list[DutyThread] = []
        self._beating: DutyThread | None = None
        self._forget_commits: Callable[[], None] = lambda: None

    def start(self) -> Runner:
        """Announce this runner and begin to claim. Raises StoreError."""
        self._store.housekeeping.declare_types(self._jobs.registry.names)
        if self._presence is not None:
            self._presence.announce()
            self._beating = self._drive("beat", self._presence)
        duties = self.duties
        self._forget_commits = self._store.housekeeping.on_commit(self._note_commit)
        self._working = [
            self._drive("claim", duties.claim, duties.claim.bell),
            self._drive("settle", duties.settle, duties.settle.bell),
            self._drive("care", Together(duties.wishes, duties.reconcile)),
        ]
        return self

    def stop(self, grace: Seconds = 30.0) -> None:
        """Stop in order (see the top of this module); running jobs get `grace` seconds to finish. Idempotent."""
        working, self._working = self._working, []
        if not working:
            return
        self.duties.claim.stop()
        self._give_back(self.duties.attempts.take_back())
        self._wait_for_attempts(grace)
        self._give_back(self.duties.attempts.abandon())
        for thread in working:
            thread.stop()
        self._bring_back_last_outcomes()
        self._forget_commits()
        self._pool.shutdown(wait=False)
        self._retire()

    def __enter__(self) -> Runner:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop() if error is None else self.stop(grace=1.0)

    def _drive(self, name: str, duty: Duty, bell: Bell | None = None) -> DutyThread:
        thread = DutyThread(name, duty, bell or Bell(), self._clock)
        thread.start()
        return thread

    def _note_commit(self, arrived: bool, ended: Sequence[str]) -> None:  # noqa: FBT001 - a listener's shape
        if arrived:
            self.duties.claim.note_arrival()

    def _give_back(self, jobs: Sequence[ClaimedJob]) -> None:
        try:
            if jobs:
                self._store.claims.release([(job.id, job.token) for job in jobs])
        except StoreError as error:
            log.warning("%d jobs could not be given back yet: %s", len(jobs), error)

    def _wait_for_attempts(self, grace: Seconds) -> None:
        deadline = self._clock.monotonic() + grace
        while self.duties.attempts and (left := deadline - self._clock.monotonic()) > 0:
            self.duties.ended.wait(left)
            self.duties.ended.clear()

    def _bring_back_last_outcomes(self) -> None:
        settle = self.duties.settle
        while settle.held:
            if settle.step(self._clock.monotonic()) > self._clock.monotonic() and settle.held:
                log.warning("%d finished jobs could not be brought back, they run again", len(settle.held))
                return

    def _retire(self) -> None:
        if self._presence is None or self._beating is None:
            return
        self._beating.stop()
        try:
            self._presence.retire()
        except StoreError as error:
            log.warning("runner %s could not retire; its lease will end: %s", self.id, error)
