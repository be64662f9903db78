"""The way of outcomes back to an asyncio loop, and of its calls into a crew, without ever blocking the loop.

Guarantees
    `run` returns at once. A call for which there is no place waits here, in order, and holds up only the loop's
    own calls to the same crew.
    Outcomes cross to the loop in bursts: however many tasks end before the loop looks, it is woken once.
    The loop stays responsive: it is handed a limited number of outcomes, then gets its turn.
    A loop that is closed meanwhile is no concern of the workers: what was meant for it is forgotten.

Races
    Post against hand out. A worker leaves a letter, then looks whether the loop was called; the loop forgets that
    it was called, then looks for letters. So at least one of them sees the other.

    Cancel against a place that comes free. A call that waits here has not been submitted, so if it is cancelled it
    must be counted in as well as out; once it has a place, the line counts it in. `lined_up` is a ticket:
    whoever deletes it decides which of the two it is.

Locks
    None. `Mailbox.post` runs in any thread, all else in the loop's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary, ref

from millhand.core.clock import Seconds
from millhand.pool.admission import Admission
from millhand.pool.attached import Callback
from millhand.pool.future import CANCELLED, RETURNED, End, Future
from millhand.pool.interrupt import Guard
from millhand.pool.stats import Tally
from millhand.pool.task import Task, monotonic
from millhand.pool.terms import FOREVER

TURN: Seconds = 0.001
"""How long outcomes are handed out before the loop gets its turn."""

BURST = 32
"""How many at most: what they wake runs after them, in the same turn of the loop, and takes 10 µs each or more.

With 100, the loop's lag (p99) was 2 to 5 ms beside 200 users of a pool of no-ops, with 32 it is 1 to 2.5 ms."""

T = TypeVar("T")


def mailbox_here() -> Mailbox:
    """Return the mailbox of the loop that runs in this thread. Raises RuntimeError if none does."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "run and amap need a running asyncio loop in this thread; without one, use submit and map"
        ) from None
    global _latest  # noqa: PLW0603 - most programs have one loop: a look into the dictionary for each call costs 3 %
    mailbox = _latest
    if mailbox is None or mailbox.loop() is not loop:
        _latest = mailbox = _mailboxes.get(loop) or _mailboxes.setdefault(loop, Mailbox(loop))
    return mailbox


class Answer(asyncio.Future[Any]):
    """This is what the loop awaits in place of a pool's future.

    A class of its own to learn of a cancellation: a callback for that would cost one turn of the loop per call.
    """

    __slots__ = ("source",)

    source: Source | None
    """What it stands for, until that has ended."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, and with it what it stands for."""
        cancelled = super().cancel(msg)
        source, self.source = self.source, None
        if cancelled and source is not None:
            source.abandon()
        return cancelled

    def settle(self, source: Future[Any]) -> None:
        """Take over how a future ended, as `asyncio.wrap_future` does it."""
        self.source = None  # also breaks the circle with the task, which costs less than to have it collected
        if self.done():
            return
        # By their private names: this runs once per call, and the public ones cost three calls more.
        end, value = source._end, source._value
        if end is RETURNED:
            self.set_result(value)
        elif end is CANCELLED or isinstance(value, CancelledError):
            super().cancel()
        elif isinstance(value, StopIteration):  # asyncio takes it for the end of a coroutine
            error = RuntimeError("the call raised StopIteration")
            error.__cause__ = value
            self.set_exception(error)
        else:
            self.set_exception(value)


class Letter(Protocol):
    """What is left in a mailbox."""

    def deliver(self) -> None:
        """Tell the loop; called in its thread."""


class Source(Protocol):
    """What an answer stands for."""

    def abandon(self) -> object:
        """Do what is to be done when nobody awaits it any more."""


class Mailbox:
    """This is where workers leave outcomes for one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = ref(loop)  # the mailbox is kept as long as its loop is, no longer
        self._letters: deque[Letter] = deque()
        self._called = False
        self.lineups: dict[Admission, Lineup] = {}
        """Where calls wait for a place; only of crews that are full."""

    def post(self, letter: Letter) -> None:
        """Have a letter delivered on the loop; from any thread."""
        self._letters.append(letter)
        if not self._called:
            self._called = True
            self.call(self._hand_out)

    def call(self, function: Callable[[], object]) -> None:
        """Have a function called on the loop, from any thread; if that is closed, forget what was meant for it."""
        loop = self.loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(function)
        except RuntimeError:  # closed: what waits here would hold the loop, and thereby this mailbox, for ever
            self._called = False
            self._letters.clear()
            self.lineups.clear()

    def _hand_out(self) -> None:
        self._called = False  # then look: see Races
        letters, until = self._letters, monotonic() + TURN
        for _ in range(BURST):
            if not letters or monotonic() > until:
                break
            letters.popleft().deliver()
        if letters:
            self._called = True
            asyncio.get_running_loop().call_soon(self._hand_out)


class AwaitedTask(Task):
    """This is a task that tells a mailbox of its end."""

    __slots__ = ("answer", "give_back", "lined_up", "mailbox")

    answer: Answer
    mailbox: Mailbox
    give_back: Callable[[], object] | None
    """Ends the loan of a place: the call that submitted this one waits for it, and holds a place meanwhile."""

    def _conclude(self, end: End, value: object) -> Sequence[Callback]:
        callbacks = super()._conclude(end, value)
        self.mailbox.post(self)
        return callbacks

    conclude = _conclude

    def perform(self, tally: Tally, guard: Guard | None = None) -> Sequence[Callback] | None:
        """Perform it as any task."""
        callbacks = super().perform(tally, guard)
        if self._end is RETURNED:  # the one end that does not go through `_conclude`
            self.mailbox.post(self)
        return callbacks

    def deliver(self) -> None:
        """Tell the one who awaits it."""
        if self.give_back is not None:
            self.give_back()
        self.answer.settle(self)

    def abandon(self) -> None:
        """Cancel it, since nobody awaits it any more."""
        self.cancel(running=True)

    def refuse(self, error: Exception) -> None:
        """Tell the one who awaits it that it was not let in."""
        if self.give_back is not None:
            self.give_back()
        self.answer.source = None
        if not self.answer.done():
            self.answer.set_exception(error)

    def claim(self) -> bool:
        """Take the ticket of a call that waits for a place; False if it does not, or somebody else took it."""
        try:
            del self.lined_up
        except AttributeError:
            return False
        return True

    def line_up(self) -> None:
        """Let it wait for a place; only for the one who holds its ticket, or before anybody knows of it."""
        self.lined_up = True
        if self.done() and self.claim():  # cancelled while it had no ticket: nobody has counted it in
            self.books.without_place.add()

    def _count_cancel(self) -> None:
        if self.claim():
            self.books.without_place.add()
        super()._count_cancel()


def run(task: AwaitedTask, crew: Admission, mailbox: Mailbox) -> Answer:
    """Submit a task and return what its outcome will arrive at; refusals arrive there, too."""
    answer = task.answer = Answer()
    answer.source = task
    task.mailbox, task.give_back = mailbox, None
    try:
        if task.context is not None:  # in a call of whatever pool, a context is never empty
            task.give_back = crew.staff.lend_place()
        if crew in mailbox.lineups:
            crew.prepare(task)
            mailbox.lineups[crew].add(task)
        elif not crew.offer(task):
            lineup = mailbox.lineups[crew] = Lineup(crew, mailbox)
            lineup.add(task)
    except Exception as error:  # noqa: BLE001 - the caller's, who awaits the answer
        task.refuse(error)
    return answer


class Lineup:
    """This is where one loop's calls to one crew wait for a place, first come first served.

    It exists only while there are any.
    """

    def __init__(self, crew: Admission, mailbox: Mailbox) -> None:
        self._crew, self._mailbox = crew, mailbox
        self._tasks: deque[AwaitedTask] = deque()
        self._asked = False

    def add(self, task: AwaitedTask) -> None:
        """Let a task wait, as long as its limits allow; it was offered, or prepared, before."""
        task.line_up()
        self._tasks.append(task)
        patience = self._patience(task)
        if patience < FOREVER:
            waker = asyncio.get_running_loop().call_later(patience, self._give_up, task)
            task.at_end(lambda _: self._mailbox.call(waker.cancel))
        self._ask()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._crew.line.ask_for_place(partial(self._mailbox.call, self._let_in))
            if self._crew.refusal is not None:  # it may have closed before we asked
                self._mailbox.call(self._let_in)

    def _let_in(self) -> None:
        """Offer those who wait; called on the loop when a place may be free, or the crew takes no more."""
        self._asked = False
        while self._tasks:
            task = self._tasks[0]
            if task.claim() and not self._offer(task):
                task.line_up()
                self._ask()
                return
            self._tasks.popleft()
        if self._mailbox.lineups.get(self._crew) is self:
            del self._mailbox.lineups[self._crew]

    def _offer(self, task: AwaitedTask) -> bool:
        try:
            return self._crew.offer(task, again=True)
        except Exception as error:  # noqa: BLE001 - the caller's, who awaits the answer
            task.refuse(error)
            return True

    # ruff: noqa: SLF001 - this is the part of Admission that needs a loop

    def _patience(self, task: AwaitedTask) -> Seconds:
        """Return how long a task may wait for a place."""
        timeout = task.options.submit_timeout or self._crew._submit_timeout
        return max(0.0, min(task.deadline - monotonic(), FOREVER if timeout is None else timeout))

    def _give_up(self, task: AwaitedTask) -> None:
        """Refuse a task that has waited for a place as long as it may, or fail it if its time is over altogether."""
        if not task.claim():
            return
        with suppress(ValueError):
            self._tasks.remove(task)
        try:
            if task.deadline > monotonic():
                self._crew._refuse(task, self._crew._full("none came free in time; raise submit_timeout"))
            self._crew.books.without_place.add()
            self._crew.time_out(task)
        except Exception as error:  # noqa: BLE001 - the caller's, who awaits the answer
            task.refuse(error)


class _Attendance:
    """This stands for a future that was not submitted by `run`, but is awaited."""

    __slots__ = ("_answer", "_future")

    def __init__(self, answer: Answer, future: Future[Any]) -> None:
        self._answer, self._future = answer, future

    def deliver(self) -> None:
        """Tell the one who awaits it."""
        self._answer.settle(self._future)

    def abandon(self) -> None:
        """Cancel it if it waits: it may have been submitted for others, too."""
        self._future.cancel()


def attend(future: Future[T]) -> Generator[Any, None, T]:
    """Await a future; a cancellation reaches it as it does through `asyncio.wrap_future`: if it has not started."""
    mailbox, answer = mailbox_here(), Answer()
    if future.done():
        answer.settle(future)
        return cast("T", answer.result())
    answer.source = attendance = _Attendance(answer, future)
    future.add_done_callback(lambda _: mailbox.post(attendance))
    give_back = future.crew.staff.lend_place() if isinstance(future, Task) else None
    try:
        outcome: T = yield from answer
    finally:
        if give_back is not None:
            give_back()
    return outcome


_latest: Mailbox | None = None
_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()
