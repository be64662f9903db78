"""What the schedule chooses between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millhand.core.clock import Instant

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Crash(BaseException):
    """The process that was at work is no more; whatever it held in its hands is gone."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.process = process


@dataclass(slots=True)
class Step:
    """Something that one process can do now, and since when it could have."""

    process: Process
    name: str
    due: Instant
    run: Callable[[], None]
