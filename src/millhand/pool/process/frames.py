"""What a process is given at once: a frame of calls, and what becomes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, cast

from millhand.core.clock import Seconds
from millhand.core.errors import NotPicklable
from millhand.pool.process.packed import Packed, name_of
from millhand.pool.process.parcel import Parcel, pack
from millhand.pool.task import Task
from millhand.pool.terms import Terms

if TYPE_CHECKING:
    from millhand.pool.process.worker_process import WorkerProcess


CALLS: Seconds = 0.001
ITEMS: Seconds = 0.002
"""How long a frame should take: long enough to be worth two switches of processes, and too short to miss. Then it is
halted; and as long again later, what the process has done meanwhile is known, and what it has not begun runs elsewhere,
so that nothing short waits behind something long."""


_terms_of = attrgetter("terms")


class Raised:
    """This is what a call raised, other than what it returned."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Sound(list[Any]):
    """These are results none of which is Raised."""


class Unsent(Exception):
    """This says why a frame cannot be sent."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Frame(ABC):
    """This is such a frame.

    Attributes:
        size: how many calls it has.
        tasks: which it is killed for: one for each call, or one for all.
        patience: how long it may take before what has not begun is taken back; twice that, to be exact. None: there
            is nothing that could be.
    """

    size: int
    tasks: Sequence[Task]
    patience: Seconds | None

    @abstractmethod
    def send(self, process: WorkerProcess) -> None:
        """Send it. Raises ProcessGone; Unsent: that cannot be done."""

    def look_ahead(self) -> None:  # noqa: B027 - nothing follows most
        """Prepare what is to follow it. Called when it has been sent, as time that would be spent waiting."""

    @abstractmethod
    def note(self, start: int, results: list[Any]) -> None:
        """Take results, from that of the call number `start` on."""

    @abstractmethod
    def name(self, n: int) -> str:
        """Return what call number `n` is called."""

    def is_stopped(self) -> bool:
        """Return whether one of its calls is not to run any more."""
        return self.tasks[0].asked

    @abstractmethod
    def cut(self, size: int) -> None:
        """Let go of the calls from number `size` on: they have not begun, and are not to wait for those before them."""


class One(Frame):
    """This is a frame of one call, whose outcome is wanted here and now."""

    size = 1
    patience = None

    def __init__(self, task: Task, packed: Packed) -> None:
        self.tasks = (task,)
        self._packed = packed
        self.result: Any = None

    def send(self, process: WorkerProcess) -> None:
        """Send it."""
        process.send_call(self._packed)

    def note(self, start: int, results: list[Any]) -> None:
        """Take the result."""
        for self.result in results:
            pass

    def name(self, n: int) -> str:
        """Return the function's name."""
        return str(self._packed.__qualname__)

    def cut(self, size: int) -> None:
        """Do nothing: there is nothing behind it."""


class Calls(Frame):
    """This is a frame of small calls that were submitted one by one.

    Args:
        tasks: they.
        tell: ends the future of one of them.
        give_back: has them wait again.
    """

    def __init__(
        self, tasks: list[Task], tell: Callable[[Task, Any], object], give_back: Callable[[list[Task]], object]
    ) -> None:
        self.tasks: list[Task] = tasks
        self.size = len(tasks)
        self.patience = CALLS if self.size > 1 else None
        self._tell, self._give_back = tell, give_back

    def send(self, process: WorkerProcess) -> None:
        """Send it."""
        process.send_calls([task.call for task in self.tasks])

    def note(self, start: int, results: list[Any]) -> None:
        """End the futures."""
        for task, result in zip(self.tasks[start:], results, strict=False):
            self._tell(task, result)

    def name(self, n: int) -> str:
        """Return the function's name."""
        return self.tasks[n].name

    def is_stopped(self) -> bool:
        """Return whether one of its calls is not to run any more."""
        # To be asked, a task gets terms of its own; this is quicker than to look at each one's.
        return Terms in map(type, map(_terms_of, self.tasks)) and any(task.asked for task in self.tasks)

    def cut(self, size: int) -> None:
        """Have the others wait again."""
        rest, self.tasks = self.tasks[size:], self.tasks[:size]
        self.size = size
        self._give_back(rest)


class Owner(Protocol):
    """This is whose items a span has."""

    @property
    def errand(self) -> Task:
        """The task that is cancelled with them."""

    @property
    def fn(self) -> Callable[[Any], Any]:
        """What is called with each."""

    def end(self, span: Span, start: int, results: list[Any]) -> None:
        """Take results, from that of its item number `start` on."""

    def give_back(self, span: Span, start: int, stop: int) -> None:
        """Have some of its items done by somebody else."""

    def look_ahead(self) -> Span | None:
        """Return what the same process is to do after it; None if that is for others."""


class Span(Frame):
    """This is a part of the items of a map, in a row.

    Args:
        owner: whose they are.
        block: where they stand, and where their results go.
        start, stop: from which to which.
    """

    def __init__(self, owner: Owner, block: Block, start: int, stop: int) -> None:
        self.block, self.start, self.size = block, start, stop - start
        self.tasks = (owner.errand,)
        self.patience = ITEMS if self.size > 1 else None
        self.following: Span | None = None
        """What is to run after it in the same process, as long as it has not turned out to be long."""
        self.has_begun = False
        self._owner = owner
        self._parcel: Parcel | None = None

    def prepare(self) -> None:
        """Pickle it. Raises NotPicklable."""
        items, fn = self.block.items[self.start : self.start + self.size], self._owner.fn
        self._parcel = pack((fn, items), lambda: f"an item for {name_of(fn)}")

    def send(self, process: WorkerProcess) -> None:
        """Send it; or what of it can be sent."""
        try:
            if self._parcel is None:
                self.prepare()
        except NotPicklable as error:
            if self.size > 1:  # find out which, one by one
                self.cut(1)
                self.send(process)
                return
            raise Unsent(error) from error
        parcel, self._parcel = cast("Parcel", self._parcel), None
        process.send_items(parcel, self.size)

    def look_ahead(self) -> None:
        """Pickle the one that is to follow."""
        if self.patience is None:  # it may be long, and nothing is to wait for it
            return
        self.following = self._owner.look_ahead()
        if self.following is not None:
            with suppress(NotPicklable):  # it finds out when its turn comes
                self.following.prepare()

    def note(self, start: int, results: list[Any]) -> None:
        """Keep results."""
        self._owner.end(self, start, results)

    def name(self, n: int) -> str:
        """Return the function's name."""
        return name_of(self._owner.fn)

    def cut(self, size: int) -> None:
        """Give the others back, and what was to follow them."""
        self.drop_following()
        stop, self.size = self.start + self.size, size
        self._owner.give_back(self, self.start + size, stop)

    def drop_following(self) -> None:
        """Leave what was to follow it to others."""
        following, self.following = self.following, None
        if following is not None:
            following.cut(0)


class Block:
    """This is a number of items of a map that were read at once.

    Args:
        items: they.
        read_at: when, monotonic.
    """

    __slots__ = ("ended", "items", "read_at")

    def __init__(self, items: list[Any], read_at: float) -> None:
        self.items, self.read_at = items, read_at
        self.ended: dict[int, list[Any]] = {}
        """What has come: the results of items in a row, by the number of the first."""
