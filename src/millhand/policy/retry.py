"""Whether to try again, and when: the one place where an outcome becomes a job's next state."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TypeAlias

from millhand.core.clock import Seconds
from millhand.core.errors import ErrorInfo
from millhand.core.job import JobState
from millhand.core.outcome import Cancelled, Done, Failed, Outcome, Snoozed, TimedOut
from millhand.policy.backoff import Backoff


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
    """This decides what follows an attempt."""

    backoff: Backoff = field(default_factory=Backoff)

    def after(self, outcome: Outcome, *, attempt: int, max_attempts: int, chance: random.Random) -> Decision:
        """Turn the outcome of attempt number `attempt` (the first is 1) into what happens next."""
        match outcome:
            case Done(result):
                return Finish(JobState.COMPLETED, result=result)
            case Cancelled():
                return Finish(JobState.CANCELLED)
            case Snoozed(seconds):
                return RunAgain(seconds, counts_as_attempt=False)
            case TimedOut(timeout):
                error = ErrorInfo("TimedOut", f"still running after {timeout:g} s")
            case Failed(error, final=True):
                return Finish(JobState.FAILED, error=error)
            case Failed(error):
                pass
        if attempt >= max_attempts:
            return Finish(JobState.FAILED, error=error)
        return RunAgain(self.backoff.wait(attempt, chance), error)
