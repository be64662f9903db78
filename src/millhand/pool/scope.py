"""What a cancellation reaches: a tree of running and waiting calls.

A call that is submitted from within a running call belongs to that call's scope, as the calls of a group belong
to the group's. To cancel a scope is to cancel all that is in it, and what those have submitted in their turn.

Guarantees:
    After `cancel`, whatever is in the scope is cancelled or asked to stop, and so is what comes in later.
    A scope holds only what has not ended. The scope of a call that ended goes up in the one around it, so a
    call that submits the next one and ends, over and over, does not build a chain.

Locks:
    One for a whole tree, re-entrant, since a finaliser may submit: which scope a member is in.
    No user code and no other lock under it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

Lock: TypeAlias = AbstractContextManager[Any]


class Member(Protocol):
    """What can be in a scope: a task, or a group's own scope."""

    scope: Scope | None

    def stop(self) -> None:
        """Cancel it, also when it is running."""
        ...


class Scope:
    """This is a set of calls, and of scopes, that are cancelled together.

    Args:
        parent: the scope around this one, if any.
        on_empty: called, under the lock, when the last member has ended.
    """

    def __init__(self, parent: Scope | None = None, on_empty: Callable[[], None] = lambda: None) -> None:
        self.scope = parent
        self.cancelled = False
        self._members: set[Member] = set()
        self._on_empty = on_empty
        self._tree: Lock = threading.RLock() if parent is None else parent._tree  # noqa: SLF001 - its own class

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Member) -> bool:
        """Take a member in; False if the scope is cancelled, so that it must be, too."""
        with self._tree:
            member.scope = self
            self._members.add(member)
            return not self.cancelled

    def discard(self, member: Member) -> None:
        """Take a member out, if it is in."""
        with self._tree:  # under it, a member's scope does not change
            if member.scope is self:
                member.scope = None
                self._members.discard(member)
                if not self._members:
                    self._on_empty()

    def cancel(self) -> None:
        """Cancel all that is in the scope, and what comes in from now on."""
        with self._tree:
            self.cancelled = True
            members = tuple(self._members)
        for member in members:
            member.stop()

    stop = cancel

    def dissolve(self, into: Scope | None) -> None:
        """Hand all members to the scope around this one, when the call whose scope it is has ended."""
        with self._tree:
            members, self._members = self._members, set()
            for member in members:
                member.scope = None
            late = [member for member in members if into is not None and not into.add(member)]
        for member in late:
            member.stop()


def leave(member: Member) -> None:
    """Take a member that has ended out of its scope."""
    scope: Scope | None
    while (scope := getattr(member, "scope", None)) is not None:
        scope.discard(member)
