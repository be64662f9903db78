"""What a call passes before it runs: the contract of every limit, and several limits asked as one."""

from __future__ import annotations

from typing import Protocol

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import MillhandError


class Gate(Protocol):
    """This lets calls through, or says how long they have to wait.

    It never waits, never looks at a clock and never locks: whoever asks holds a lock, from a look to the `take` that
    follows from it. All instants are of one clock, and do not go backwards (`Clock.monotonic`).

    Each `take` is followed by one `ended`, or by one `give_back` if the call never ran.
    """

    def wait_needed(self, now: Instant) -> Seconds:
        """Return how long until it is worth asking again: 0.0, a call fits now; infinity, when another has ended."""
        ...

    def refusal(self, now: Instant) -> MillhandError | None:
        """Return what a call is told that does not fit now and is not to wait; None: it fits."""
        ...

    def take(self, now: Instant) -> None:
        """Let one call through. Raises the `refusal`, if there is one, and nothing has changed then."""
        ...

    def give_back(self, now: Instant, *, started: Instant) -> None:
        """Note that a call which was let through at `started` never ran."""
        ...

    def ended(self, now: Instant, *, started: Instant, error: BaseException | None = None) -> None:
        """Note that a call which was let through has ended.

        Args:
            now: the time.
            started: when it was let through: the `now` of its `take`.
            error: what it raised, if it did.
        """
        ...

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether it would be the same if it were made anew now, so that it may be forgotten."""
        ...


class Limits:
    """This is several gates as one: a call passes all of them, or takes nothing from any.

    Were they asked one by one, a call that the second refuses would have used up a token of the first.

    Args:
        gates: in the order in which they are asked; the first that refuses is the one that a call is told of.
    """

    __slots__ = ("_gates",)

    def __init__(self, *gates: Gate) -> None:
        self._gates = gates

    def wait_needed(self, now: Instant) -> Seconds:
        """Return how long until all of them may have room: the longest of their waits."""
        return max((gate.wait_needed(now) for gate in self._gates), default=0.0)

    def refusal(self, now: Instant) -> MillhandError | None:
        """Return what the first gate says that refuses; None: a call fits now."""
        return next((refusal for gate in self._gates if (refusal := gate.refusal(now)) is not None), None)

    def take(self, now: Instant) -> None:
        """Let one call through all of them. Raises the `refusal`, if there is one, and nothing has changed then."""
        if (refusal := self.refusal(now)) is not None:
            raise refusal
        for gate in self._gates:
            gate.take(now)

    def give_back(self, now: Instant, *, started: Instant) -> None:
        """Tell all of them that a call never ran."""
        for gate in self._gates:
            gate.give_back(now, started=started)

    def ended(self, now: Instant, *, started: Instant, error: BaseException | None = None) -> None:
        """Tell all of them that a call has ended."""
        for gate in self._gates:
            gate.ended(now, started=started, error=error)

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether all of them are."""
        return all(gate.is_at_rest(now) for gate in self._gates)
