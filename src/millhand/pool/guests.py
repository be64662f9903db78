"""Who has work carried into a crew: its maps and its sub-pools, which must learn what becomes of the crew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol
from weakref import ref


class Guest(Protocol):
    """What a crew asks of one who sends carriers to it."""

    def cancel_waiting(self) -> None:
        """Cancel all that waits."""

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """End all that waits with an error."""

    def lend(self) -> None:
        """Called when a worker of the crew begins to wait for another call of it."""

    def fit(self) -> None:
        """Called when the crew's size has changed."""

    def backlog(self) -> int:
        """Return for how many more workers there is something to do."""
        ...


class Guests:
    """These are the guests of one crew, as long as they are there: nobody is kept by being here."""

    __slots__ = ("_guests",)

    def __init__(self) -> None:
        self._guests: set[ref[Guest]] = set()

    def add(self, guest: Guest) -> None:
        """Take one in."""
        self._guests.add(ref(guest, self._guests.discard))

    def __iter__(self) -> Iterator[Guest]:
        # A copy, made in one C call, since others come and go meanwhile.
        return iter([guest for each in tuple(self._guests) if (guest := each()) is not None])
