"""One policy object for each key (host, tenant, user), forgotten when it is at rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from millhand.core.clock import Instant

LOOKS = 2
"""How many old keys are looked at for each new one. With one, the keys at rest would never become fewer."""


class Forgettable(Protocol):
    """This is what a key may have: it can tell when nobody would miss it."""

    def is_at_rest(self, now: Instant) -> bool:
        """Tell whether it would be the same if it were made anew now."""
        ...


T = TypeVar("T", bound=Forgettable)


class PerKey(Generic[T]):
    """This keeps an object for each key, made when the key is first asked for, and forgets those at rest.

    What is at rest is as if it were new, so nobody can tell what has been forgotten. Memory is bounded by how many
    keys are not at rest, not by how many there ever were: each new key has two of the others looked at in turn, so
    that keys made up for each call, which rest after a second each, are never more than two seconds' worth.

    It has no lock: whoever asks holds one. An object is to be used at once and not to be kept; it may be forgotten
    at the next `at`.

    Args:
        fresh: makes the object of a new key, as `RateLimit(10).fresh`.
    """

    __slots__ = ("_by_key", "_fresh")

    def __init__(self, fresh: Callable[[], T]) -> None:
        self._fresh = fresh
        # In the order in which they are looked at. Not a dict: to find its first key takes the longer, the more have
        # been removed from its front.
        self._by_key: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._by_key)

    def at(self, key: Hashable, now: Instant) -> T:
        """Return the object of this key."""
        found = self._by_key.get(key)
        if found is None:
            self._forget_some(now)
            found = self._by_key[key] = self._fresh()
        return found

    def _forget_some(self, now: Instant) -> None:
        for _ in range(min(LOOKS, len(self._by_key))):
            key, state = next(iter(self._by_key.items()))
            if state.is_at_rest(now):
                del self._by_key[key]
            else:
                self._by_key.move_to_end(key)
