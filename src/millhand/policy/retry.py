"""Whether to try again, and when: the one place where an outcome becomes a job's next state."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import ErrorInfo, RetryAfter
from millhand.core.job import JobState
from millhand.core.outcome import Cancelled, Done, Failed, Outcome, Snoozed, TimedOut
from millhand.policy.backoff import Backoff
from millhand.policy.checks import check_count, check_positive
from millhand.policy.kinds import Which, check_which, covers


@dataclass(frozen=True, slots=True)
class Finish:
    """The job has ended, in this state."""

    state: JobState
    result: str | None = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class RunAgain:
    """The job waits for another attempt."""

    delay: Seconds
    error: ErrorInfo | None = None
    counts_as_attempt: bool = True


Decision: TypeAlias = Finish | RunAgain


@dataclass(frozen=True, slots=True)
class Retry:
    """This decides what follows an attempt that failed: another one after a wait, or none.

    It says nothing of calls that were cancelled; whoever asks about one of those has it run again.

    Args:
        attempts: how many times in all a call of a pool may run; None: no bound but `deadline`. A kept job brings its
            own number, `max_attempts`.
        backoff: how long the waits are.
        retry_on: which exceptions are worth another attempt: types, or a function that is asked about each. A kept
            job that ran over its time limit is always tried again; a call of a pool never, since it may go on.
        give_up_on: which are not, though `retry_on` has them.
        deadline: no attempt begins later than so many seconds after the first one did. None: there is no such time.
            Calls of a pool only: of a kept job nobody knows when its first attempt began.

    Raises:
        ValueError: a setting is not what it should be; the message names it.
    """

    attempts: int | None = 3
    backoff: Backoff = field(default_factory=Backoff)
    retry_on: Which = (Exception, SystemExit)
    give_up_on: Which = ()
    deadline: Seconds | None = None

    def __post_init__(self) -> None:
        if self.attempts is not None:
            check_count("attempts", self.attempts)
        if not isinstance(self.backoff, Backoff):
            raise ValueError(f"backoff must be a Backoff, as Backoff(base=0.5), got {self.backoff!r}")
        check_which("retry_on", self.retry_on)
        check_which("give_up_on", self.give_up_on)
        if self.deadline is not None:
            check_positive("deadline", self.deadline)

    def wait_after(
        self, error: BaseException, *, attempt: int, first_start: Instant, now: Instant, chance: random.Random
    ) -> Seconds | None:
        """Return how long a call that failed waits for its next attempt; None: this failure is its end.

        Args:
            error: what it raised; `RetryAfter` has that wait, without jitter or cap.
            attempt: the number of the attempt that failed; the first is 1.
            first_start: when the first attempt began.
            now: the time, of the same clock.
            chance: what the wait is drawn with.
        """
        if not self.covers(error):
            return None
        wait = self._next_wait(attempt, self.attempts, asked_wait(error), chance)
        is_late = wait is not None and self.deadline is not None and now + wait > first_start + self.deadline
        return None if is_late else wait

    def covers(self, error: BaseException) -> bool:
        """Tell whether the exception is worth another attempt. What a predicate raises passes through.

        `RetryAfter` always is: whoever raises it asks for just that.
        """
        if isinstance(error, RetryAfter):
            return True
        return covers(self.retry_on, error) and not covers(self.give_up_on, error)

    def after(self, outcome: Outcome, *, attempt: int, max_attempts: int, chance: random.Random) -> Decision:
        """Turn the outcome of attempt number `attempt` (the first is 1) of a kept job into what happens next."""
        asked: Seconds | None = None
        match outcome:
            case Done(result):
                return Finish(JobState.COMPLETED, result=result)
            case Cancelled():
                return Finish(JobState.CANCELLED)
            case Snoozed(seconds):
                return RunAgain(seconds, counts_as_attempt=False)
            case TimedOut(timeout):
                error = ErrorInfo("TimedOut", f"still running after {timeout:g} s")
            case Failed(error, True):
                return Finish(JobState.FAILED, error=error)
            case Failed(error, _, asked):
                pass
            case _:
                assert_never(outcome)
        wait = self._next_wait(attempt, max_attempts, asked, chance)
        return Finish(JobState.FAILED, error=error) if wait is None else RunAgain(wait, error)

    def _next_wait(
        self, attempt: int, attempts: int | None, asked: Seconds | None, chance: random.Random
    ) -> Seconds | None:
        if attempts is not None and attempt >= attempts:
            return None
        return self.backoff.wait(attempt, chance) if asked is None else asked


def asked_wait(error: BaseException) -> Seconds | None:
    """Return the wait that an exception asks for; None if it asks for none."""
    return error.seconds if isinstance(error, RetryAfter) else None
