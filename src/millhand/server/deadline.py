"""Ending requests that take too long: one timer for all of them, since all may take equally long."""

from __future__ import annotations

import asyncio

from millhand.core.clock import Seconds


class Deadline:
    """One request's time: until when, and whether it ran out."""

    __slots__ = ("ends_at", "overdue", "reading", "task")

    def __init__(self, task: asyncio.Task[object], ends_at: float) -> None:
        self.task, self.ends_at = task, ends_at
        self.overdue = False
        self.reading = False
        """Whether the request's body is still being read."""


class Deadlines:
    """This cancels the task of each request that has not left in time.

    Costs less than a microsecond a request: the order of entering is the order of the ends, so only the
    oldest needs a timer (`asyncio.timeout` sets and clears one for each).
    """

    def __init__(self, timeout: Seconds) -> None:
        self._timeout = timeout
        self._running: dict[Deadline, None] = {}
        self._armed = False

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return len(self._running)

    def enter(self) -> Deadline:
        """Give the current task its time from now."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - an ASGI call always runs in a task
        deadline = Deadline(task, loop.time() + self._timeout)
        self._running[deadline] = None
        if not self._armed:
            self._armed = True
            loop.call_at(deadline.ends_at, self._end_overdue, loop)
        return deadline

    def leave(self, deadline: Deadline) -> None:
        """Take the task out of danger. Idempotent."""
        self._running.pop(deadline, None)

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in list(self._running):
            if deadline.ends_at > now:
                loop.call_at(deadline.ends_at, self._end_overdue, loop)
                return
            del self._running[deadline]
            deadline.overdue = True
            deadline.task.cancel()
        self._armed = False
