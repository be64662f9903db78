"""What pools with workers of their own have in common: a pause, and how a `with` body is left."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Any, Literal

from millhand.core.clock import Seconds
from millhand.pool.pool import Pool

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
