"""Running claimed jobs: one attempt is one task in the pool, and ends as exactly one outcome.

Locks:
    None. Who ends an attempt (its worker, a cancel, its timeout, the end of the grace) is decided by taking
    its one ticket, which is one atomic operation. It stays in the table until it has been settled, so that
    a job which the runner holds is always in the table or with `Settle`, never in neither.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

from millhand.codec import encode_value
from millhand.core.clock import Seconds
from millhand.core.errors import BadArguments, ErrorInfo, TaskTimeout
from millhand.core.job import ClaimedJob
from millhand.core.outcome import Cancelled, Done, Failed, Outcome, TimedOut
from millhand.jobs.current import CurrentJob, set_current_job
from millhand.jobs.registry import JobType
from millhand.policy.retry import Retry, asked_wait

MAX_TRACEBACK = 20_000
"""Characters kept of a traceback."""


class TaskPool(Protocol):
    """What attempts ask of a pool."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call on a worker."""

    def with_options(self, *, timeout: Seconds | None = None) -> Any:
        """Return a view with a limit on the time of each call."""


class Attempt:
    """One claimed job on its way through the pool."""

    def __init__(self, job: ClaimedJob, job_type: JobType, timeout: Seconds | None) -> None:
        self.job, self.type, self.timeout = job, job_type, timeout
        self.key = job.id, job.token
        self.current = CurrentJob(job)
        self.future: Future[Any] | None = None
        self.timed_out = False
        self._ticket = [True]

    def take_ticket(self) -> bool:
        """Return True to the one caller that may end this attempt."""
        try:
            return self._ticket.pop()
        except IndexError:
            return False


class Attempts:
    """This runs attempts, and knows which jobs the runner holds.

    Args:
        pool: where they run.
        settle: called with each attempt and its outcome, once, mostly from a worker's thread.
        note_end: called after that: there is room for another.
        job_timeout: the limit for jobs that bring none.
    """

    def __init__(
        self,
        pool: TaskPool,
        settle: Callable[[Attempt, Outcome], None],
        note_end: Callable[[], None],
        job_timeout: Seconds | None = None,
    ) -> None:
        self._pool = pool
        self._settle = settle
        self._note_end = note_end
        self._job_timeout = job_timeout
        # By token too: a runner that was taken for dead may claim a job again which it still runs.
        self._held: dict[tuple[str, int], Attempt] = {}

    def __len__(self) -> int:
        """Return how many attempts wait or run."""
        return len(self._held)

    @property
    def held(self) -> list[Attempt]:
        """The attempts that wait or run."""
        return list(self._held.copy().values())

    def start(self, job: ClaimedJob, job_type: JobType) -> None:
        """Hand a claimed job to the pool.

        Raises:
            PoolClosed: when the pool takes no more; the job is not held then.
        """
        attempt = Attempt(job, job_type, job.timeout or self._job_timeout)
        self._held[attempt.key] = attempt
        try:
            if attempt.timeout is None:
                attempt.future = self._pool.submit(self._run, attempt)
            else:
                attempt.future = self._pool.with_options(timeout=attempt.timeout).submit(self._run, attempt)
                attempt.future.add_done_callback(lambda future: self._note_timeout(attempt, future))
        except BaseException:
            del self._held[attempt.key]
            raise

    def cancel(self, id: str) -> None:
        """Stop an attempt: at once if it still waits, else by asking its function to."""
        for attempt in self.held:
            if attempt.job.id == id:
                attempt.current.cancel_requested = True
                if attempt.future is not None and attempt.future.cancel():
                    self._end(attempt, Cancelled())

    def take_back(self) -> list[ClaimedJob]:
        """Take out every attempt that has not begun, and return its job."""
        return self._let_go([a for a in self.held if a.future is not None and a.future.cancel()])

    def abandon(self) -> list[ClaimedJob]:
        """Ask every attempt to stop, let go of it, and return its job; what it ends with is dropped."""
        held = self.held
        for attempt in held:
            attempt.current.cancel_requested = True
        return self._let_go(held)

    def _let_go(self, attempts: list[Attempt]) -> list[ClaimedJob]:
        let_go = [attempt for attempt in attempts if attempt.take_ticket()]
        for attempt in let_go:
            del self._held[attempt.key]
        return [attempt.job for attempt in let_go]

    def _run(self, attempt: Attempt) -> None:
        set_current_job(attempt.current)
        outcome = run_once(attempt.job, attempt.type)
        if attempt.timed_out and isinstance(outcome, Failed) and not outcome.final:
            outcome = TimedOut(attempt.timeout or 0.0)
        self._end(attempt, outcome)

    def _note_timeout(self, attempt: Attempt, future: Future[Any]) -> None:
        if future.cancelled() or not isinstance(future.exception(), TaskTimeout):
            return
        attempt.timed_out = True
        attempt.current.cancel_requested = True
        # The thread is still inside the function. A job that has attempts left must not be claimable before
        # it came back, or two attempts would run at once; one that has none left can end now.
        if attempt.job.attempt >= attempt.job.max_attempts:
            self._end(attempt, TimedOut(attempt.timeout or 0.0))

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.take_ticket():
            self._settle(attempt, outcome)
            del self._held[attempt.key]
            self._note_end()


def run_once(job: ClaimedJob, job_type: JobType) -> Outcome:
    """Call the job's function here and now; whatever happens becomes an outcome."""
    try:
        args, kwargs = job_type.signature.decode(job.payload)
    except BadArguments as error:
        return Failed(ErrorInfo(type(error).__name__, str(error)), final=True)
    try:
        value = job_type.function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - the edge: also SystemExit ends only this job
        return _judge(error, job_type.retry)
    try:
        return Done(encode_value(value))
    except TypeError as error:
        text = f"{job_type.name} returned something that cannot be kept: {error}"
        return Failed(ErrorInfo("BadResult", text), final=True)


def _judge(error: BaseException, retry: Retry) -> Failed:
    try:
        # Who stopped because it was asked to is not judged by how it says so, but by what asked (see `Attempts._run`).
        is_final = not (isinstance(error, CancelledError) or retry.covers(error))
    except Exception as broken:  # noqa: BLE001 - the edge: a retry's predicate is the user's code as well
        return Failed(_describe(broken), final=True)
    return Failed(_describe(error), is_final, asked_wait(error))


def _describe(error: BaseException) -> ErrorInfo:
    # Without the first frame, which is run_once itself.
    tail = error.__traceback__.tb_next if error.__traceback__ else None
    lines = traceback.format_exception(type(error), error, tail)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the edge: also an exception that cannot say what it is has happened
        text = "(its text cannot be had: __str__ fails)"
    return ErrorInfo(type(error).__qualname__, text, "".join(lines)[-MAX_TRACEBACK:])
