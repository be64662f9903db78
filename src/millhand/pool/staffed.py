"""What pools with workers of their own have in common: a pause, and how a `with` body is left."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Any, Literal

from millhand.core.clock import Seconds
from millhand.policy.scaling import Scaling
from millhand.pool.crew import Crew
from millhand.pool.options import check_size
from millhand.pool.pool import Pool
from millhand.pool.sizing import Sizing

GRACE: Seconds = 1.0
"""How long a `with` body that raised waits for the calls that run."""


class StaffedPool(Pool):
    """This is a pool that hires its workers itself."""

    _crew: Any  # a Roster or a LoopRoster

    def pause(self) -> None:
        """Start no more calls until `resume`. Those that run go on; what is submitted waits."""
        self._crew.pause()

    def resume(self) -> None:
        """Start calls again."""
        self._crew.resume()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is not None:
            self._leave_soon()
            return False
        try:
            self.shutdown()
        except (KeyboardInterrupt, SystemExit):  # while it waited for what was submitted
            self._leave_soon()
            raise
        return False

    @abstractmethod
    def _leave_soon(self) -> None:
        """Cancel what waits, give what runs a second, and let the program go on or end."""

    def _join_or_abandon(self) -> None:
        left = False
        try:
            left = self._crew.join(GRACE)
        finally:  # also when somebody is too impatient for that second
            if not left:
                self._crew.abandon()


class CrewPool(StaffedPool):
    """This is a pool whose workers are threads, or stand behind threads: its size can be left to the load."""

    _crew: Crew
    _max_workers: int
    _idle_timeout: Seconds

    def resize(self, max_workers: int | tuple[int, int]) -> None:
        """Change how many calls may run at once; two numbers: between which the load decides.

        Returns at once. Growth takes effect before the next call is started; shrinking never interrupts a
        running call, so the pool may stay above `max_workers` until those calls end.

        Raises:
            ValueError: max_workers is less than 1, or the first of two more than the second.
        """
        if isinstance(max_workers, tuple):
            self._scale(Scaling(*max_workers, self._idle_timeout, self._crew.size))
            return
        check_size(max_workers)
        self._end_scaling()
        self._max_workers = max_workers
        self._crew.resize(max_workers)

    def _begin_scaling(self, elastic: Scaling | None, idle_timeout: Seconds) -> None:
        self._idle_timeout = idle_timeout
        if elastic is not None:
            self._scale(elastic)

    def _scale(self, scaling: Scaling) -> None:
        self._end_scaling()
        self._max_workers = scaling.high
        self._crew.sizing = Sizing(self._crew, self._crew.timers, scaling)
        self._crew.resize(scaling.size)

    def _end_scaling(self) -> None:
        if self._crew.sizing is not None:
            self._crew.sizing.stopped = True
            self._crew.sizing = None

    def _leave_soon(self) -> None:
        self._close(cancel=True)
        self._join_or_abandon()
