"""How an attempt ended, as a value; one `match` in the runner turns it into the job's next state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from millhand.core.clock import Seconds
from millhand.core.errors import ErrorInfo


@dataclass(frozen=True, slots=True)
class Done:
    """The function returned; `result` is its value as JSON."""

    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The function raised. `final` means that trying again cannot help (arguments that do not fit, say)."""

    error: ErrorInfo
    final: bool = False
    retry_after: Seconds | None = None
    """How long to wait before the next attempt, if the function asked for that (`RetryAfter`)."""


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The function asked to be run again later; this does not count as an attempt."""

    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was stopped because somebody asked for it, or never began."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt ran longer than its timeout."""

    timeout: Seconds


Outcome: TypeAlias = Done | Failed | Snoozed | Cancelled | TimedOut
