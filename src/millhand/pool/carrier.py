"""Tasks that carry other work into a crew: the items of a map, the calls of a sub-pool.

A carrier stands in the line like any task, for fairness, but is not admitted like one, since its sender sees to a
bound; and it is not counted, since what it carries is. It pulls one piece of work after the other from its sender,
so that nothing short waits behind something long.

Guarantees:
    While something waits at a sender, one of its carriers is under way: in the line, or at work.

Races:
    A sender that gets work against a carrier that finds none. The sender adds the work, then looks how many
    carriers are under way; a carrier strikes itself off, then looks whether work was added. So at least one of
    them sees the other.

    A carrier that gives its worker back against the end of the crew. It sends another one first, as any submit: if
    that is refused, it goes on itself.

Locks:
    `_sending`, of each sender (re-entrant, since a finaliser may submit): how many carriers are under way. No
    other lock is taken under it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar, cast

from millhand.core.clock import Seconds
from millhand.core.errors import TaskDropped
from millhand.pool.admission import Admission
from millhand.pool.attached import Callback
from millhand.pool.future import RETURNED
from millhand.pool.interrupt import Guard
from millhand.pool.options import NO_OPTIONS, Options
from millhand.pool.scope import Scope
from millhand.pool.stats import Books, Tally
from millhand.pool.task import Task, monotonic
from millhand.pool.worker import Worker

TURN: Seconds = 0.005
"""How long a carrier works before it lets others have its worker."""


class Sender(ABC):
    """This has work carried into a crew.

    Args:
        crew: whose workers are to do it.
        limit: how many of them at most.
        name: what the table of workers says is running.
        options: priority and key of the carriers; limits do not count, they are for what is carried.
        scope: what the carriers can be cancelled by.
    """

    def __init__(
        self, crew: Admission, limit: int, name: str, *, options: Options = NO_OPTIONS, scope: Scope | None = None
    ) -> None:
        self.crew, self.limit, self.name = crew, limit, name
        self.carriers: set[Carrier] = set()
        """Those under way."""
        self._terms = Options(priority=options.priority, key=options.key)
        self._scope = scope
        self._sending = threading.RLock()

    @abstractmethod
    def has_waiting(self) -> bool:
        """Return whether there is something to carry."""

    @abstractmethod
    def carry(self, carrier: Carrier, tally: Tally, worker: Worker) -> bool:
        """Do what waits, in this worker; return whether it may go on with other tasks. Must not raise."""

    @abstractmethod
    def cancel_waiting(self) -> None:
        """Cancel all that waits."""

    @abstractmethod
    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """End all that waits with an error."""

    @abstractmethod
    def backlog(self) -> int:
        """Return for how many more workers there is something to do."""

    def fit(self) -> None:  # noqa: B027 - a sub-pool has a size of its own
        """Called when the crew's size has changed."""

    def lend(self) -> None:  # noqa: B027 - a map lends nothing
        """Called when a worker of the crew begins to wait for another call of it."""

    def send_carrier(self) -> None:
        """Send one more, if there may be one more. Raises what the crew refuses work with if none is under way."""
        with self._sending:
            self.check_open()
            if not self.has_room():
                return
            carrier = self.make_carrier()
            self.carriers.add(carrier)
        try:
            self._put(carrier)
        except RuntimeError:
            self.strike_off(carrier)
            if not self.carriers:
                raise

    def send_carriers(self) -> None:
        """Send as many more as there may be, if there is something for them."""
        with suppress(RuntimeError):  # the crew takes no more work: those under way do what waits
            under_way = -1
            # Until nobody more is sent: a crew that takes no more work says so only if none is under way.
            while self.has_waiting() and self.has_room() and len(self.carriers) > under_way:
                under_way = len(self.carriers)
                self.send_carrier()

    def check_open(self) -> None:  # noqa: B027 - a map has no end of its own
        """Raise if nothing more is to be sent. Called under `_sending`."""

    def has_room(self) -> bool:
        """Return whether one more carrier may be under way. Called under `_sending`."""
        return len(self.carriers) < self.limit

    def make_carrier(self, enough: Callable[[], bool] | None = None) -> Carrier:
        """Return a carrier; with `enough`, one that goes on in the same worker until that is true."""
        return Carrier(self, self._terms, enough)

    def go_home(self, carrier: Carrier) -> bool:
        """Strike a carrier off that has found nothing; False if it is to go on, since something has come."""
        with self._sending:
            self.strike_off(carrier)
            return not (self.has_waiting() and self.readmit(carrier))

    def readmit(self, carrier: Carrier) -> bool:
        """Have one that was struck off go on, if there is room for it."""
        with self._sending:
            if self.has_room():
                self.carriers.add(carrier)
            return carrier in self.carriers

    def strike_off(self, carrier: Carrier) -> None:
        """Note that a carrier is not under way any more."""
        self.carriers.discard(carrier)

    def hand_over(self, carrier: Carrier, worker: Worker) -> bool:
        """Send another carrier in the place of this one, if others wait for its worker; return whether that is so."""
        if carrier.enough is not None:
            return carrier.enough()
        if not (self.has_waiting() and (worker.attention or self.crew.line.waiting() > 0)):
            return False
        successor = self.make_carrier()
        successor.kept = carrier.kept
        self.carriers.add(successor)
        self.carriers.discard(carrier)
        try:
            self._put(successor)
        except RuntimeError as error:  # the crew takes no more work: what waits is for those who are in it
            if not worker.written_off:
                self.carriers.add(carrier)
                self.carriers.discard(successor)
                return False
            self.strike_off(successor)
            if not self.carriers:
                refusal = error
                self.fail_waiting(lambda: refusal)
        return True

    def lose(self, carrier: Carrier, error: BaseException | None) -> None:
        """Note that a carrier will not come: it was cancelled, or dropped, or its crew has failed."""
        self.strike_off(carrier)
        if error is None:
            self.cancel_waiting()
        elif not isinstance(error, TaskDropped):
            self.fail_waiting(lambda: error)  # type: ignore[arg-type,return-value]  # nobody fails what waits with more
        elif self.has_waiting():
            with suppress(RuntimeError):  # then the crew fails, or cancels, what waits
                self.send_carrier()

    def enlist(self, carrier: Carrier) -> bool:
        """Let a carrier be cancelled by what may cancel it; False if that has happened already."""
        if self._scope is None or carrier.join(self._scope):
            return True
        carrier.cancel()
        return False

    def _put(self, carrier: Carrier) -> None:
        if not self.enlist(carrier):
            return
        line = self.crew.line
        if self._terms.priority:
            line.keep_order()
        line.put_beyond(carrier)
        self.crew.look_after(carrier)


class Carrier(Task):
    """This is one worker's errand for a sender.

    It gives the worker back when nothing waits, when its turn is over and others wait for the worker, or when the
    worker has `attention`.

    Args:
        sender: whose work it does.
        options: priority and key.
        enough: instead of all this, go on until it is true.
    """

    __slots__ = ("_sender", "enough", "kept")

    counted: ClassVar[bool] = False
    _nowhere: ClassVar[Books] = Books()

    def __init__(self, sender: Sender, options: Options, enough: Callable[[], bool] | None) -> None:
        super().__init__(None, (), {}, sender.crew, None, options)  # type: ignore[arg-type]  # there is no function
        self._sender, self.enough = sender, enough
        self.on_terms()  # of its own: the worker is noted in them
        self.kept: object = None
        """What must not be collected before it is through."""

    @property
    def name(self) -> str:
        """What it carries."""
        return self._sender.name

    @property
    def books(self) -> Books:
        """Where nobody looks."""
        return self._nowhere

    def perform(self, tally: Tally, guard: Guard | None = None) -> Sequence[Callback] | None:
        """Do the work, in the worker that was noted in its terms."""
        if not self.take_ticket():
            return ()
        worker = cast("Worker", self.worker)
        may_stay = self._sender.carry(self, tally, worker)
        tally.mark = monotonic()
        tally.idle = True
        callbacks = self.conclude(RETURNED, None) if self.seize_end() else None
        return callbacks if may_stay else None

    def stop(self) -> None:
        """Have no more of its sender's work done, and tell what it does now to stop."""
        super().stop()
        self._sender.cancel_waiting()

    def end_early(self, error: BaseException) -> Sequence[Callback]:
        """End it as one that never came to work."""
        self._sender.lose(self, error)
        return super().end_early(error)

    def _count_cancel(self) -> None:
        pass

    def _end_as_cancelled(self) -> None:
        self._sender.lose(self, None)
        super()._end_as_cancelled()
