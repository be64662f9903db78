"""The terms on which one call runs: what a plain call does without.

A record of their own, because most calls have none: as slots of the task, empty or not, these would cost every
submit 10 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millhand.core.clock import Instant
from millhand.pool.options import NO_OPTIONS, Options

if TYPE_CHECKING:
    from millhand.pool.course import Course
    from millhand.pool.interrupt import Guard
    from millhand.pool.scope import Scope
    from millhand.pool.timers import Alarm
    from millhand.pool.worker import Worker

FOREVER: Instant = float("inf")


class Terms:
    """This is what is agreed upon for a call, and what the pool needs to keep to it.

    As long as there is nothing to note of this very call, the Options that it was submitted with stand here
    instead, shared by all calls of a view: to make a record for each made those 10 % slower.
    """

    lean = False
    __slots__ = ("alarm", "asked", "course", "deadline", "guard", "options", "own_scope", "scope", "worker")

    def __init__(self, options: Options = NO_OPTIONS) -> None:
        self.options = options
        self.deadline: Instant = options.deadline
        """When it must have ended, monotonic; FOREVER if there is no such time."""
        self.alarm: Alarm | None = None
        """What rings then."""
        self.scope: Scope | None = options.scope
        """The group, or the call that submitted it, by which it may be cancelled."""
        self.own_scope: Scope | None = None
        """What it has submitted itself."""
        self.worker: Worker | None = None
        """Who runs it; None before."""
        self.guard: Guard | None = None
        """What lets it be interrupted, if it asked for that."""
        self.asked = False
        """Whether it was asked to stop while it ran."""
        self.course: Course | None = None
        """What it goes through, if it has policies."""


PLAIN = NO_OPTIONS
"""Those of a call without terms."""
