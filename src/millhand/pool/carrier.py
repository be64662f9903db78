"""A task that carries other work into a crew: the items of a map, the calls of a sub-pool.

It stands in the line like any task, for fairness, but takes no place, since whoever sends it sees to a bound;
and it is not counted, since what it carries is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from millhand.core.clock import Seconds
from millhand.pool.admission import Admission
from millhand.pool.future import RETURNED, Callback
from millhand.pool.interrupt import Guard
from millhand.pool.options import Options
from millhand.pool.stats import Tally
from millhand.pool.task import FOREVER, Task

TURN: Seconds = 0.005
"""How long a carrier works before it lets others have its worker."""


class Carrier(Task):
    """This calls `carry(worker)` in a worker; what that does must not raise.

    It gives the worker back when its turn is over and others wait, or when the worker has `attention`.

    Args:
        carry: the work.
        name: what the table of workers says is running.
        crew: whose worker.
        options: priority and key count; limits do not, they are for what is carried.
    """

    __slots__ = ("_name",)

    def __init__(self, carry: Callable[[Any], None], name: str, crew: Admission, options: Options) -> None:
        super().__init__(carry, (), {}, crew, None, Options(priority=options.priority, key=options.key))
        self._name = name
        self.deadline = FOREVER
        self.scope = self.worker = self.guard = None

    @property
    def name(self) -> str:
        """What it carries."""
        return self._name

    def begin(self, tally: Tally) -> bool:
        """Take the ticket; return False if somebody else has it."""
        return self.take_ticket()

    def perform(self, tally: Tally, guard: Guard | None = None) -> Sequence[Callback] | None:
        """Do the work."""
        self._fn(tally)
        self._fn = None
        tally.idle = True
        return self.conclude(RETURNED, None) if self.seize_end() else None

    def _count_cancel(self) -> None:
        pass


def send(carrier: Carrier, crew: Admission) -> None:
    """Put a carrier into a crew's line. Raises what the crew refuses work with."""
    if carrier.options is not None and carrier.options.priority:
        crew.line.keep_order()
    crew.line.put_beyond(carrier)
    crew.look_after(carrier)
