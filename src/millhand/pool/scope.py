"""What a cancellation reaches: a tree of running and waiting calls.

A call that is submitted from within a running call belongs to that call's scope, as the calls of a group belong
to the group's. To cancel a scope is to cancel all that is in it, and what those have submitted in their turn.

Guarantees:
    After `cancel`, whatever is in the scope is cancelled or asked to stop, and so is what comes in later.
    A scope holds only what has not ended. The scope of a call that ended goes up in the one around it, before
    the call leaves that one: so a scope is empty only when nothing of it waits or runs, however deep, and a call
    that submits the next one and ends, over and over, does not build a chain.

Locks:
    `_tree`, one for a whole tree, re-entrant, since a finaliser may submit: which scope a member is in. No user
    code and no other lock under it: members are stopped, and whoever waits is told, after it.

Races:
    A call that ends against one around it that ends: both hand their members up. Which scope is around is read
    under the lock, or the members of the inner one could go to the outer one after that has handed on its own.

    A call that ends against the one around it, whose members go up: `leave` looks again until there is no scope.

    A call that ends against `cancel`: its members go up before the look, and are in it, or after, and are late.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from millhand.pool.task import Task

Lock: TypeAlias = AbstractContextManager[Any]


class Member(Protocol):
    """What can be in a scope: a task, or a group's own scope."""

    scope: Scope | None

    @property
    def waits(self) -> bool:
        """Whether nothing of it runs."""
        ...

    def stop(self) -> None:
        """Cancel it, also when it is running."""
        ...


class Scope:
    """This is a set of calls, and of scopes, that are cancelled together.

    Args:
        tree: a scope of the tree that this one is to be in; None: of a new one.
    """

    # Not the scope around it, unless it is a member there: each link of a chain would keep all before it alive.

    def __init__(self, tree: Scope | None = None) -> None:
        self.scope: Scope | None = None
        self.cancelled = False
        self.closed = False
        """It takes no more members, since somebody has seen that it was empty and went on."""
        self._members: set[Member] = set()
        self._tell: Callable[[], object] | None = None
        self._tree: Lock = threading.RLock() if tree is None else tree._tree  # noqa: SLF001 - its own class

    @property
    def waits(self) -> bool:
        """Whether nothing of it runs: who knows."""
        return False

    def __len__(self) -> int:
        return len(self._members)

    def members(self) -> tuple[Member, ...]:
        """Return what is in it now; what these have submitted is in their own scopes."""
        with self._tree:
            return tuple(self._members)

    def add(self, member: Member) -> bool:
        """Take a member in; False if the scope is cancelled or closed, so that it must be cancelled, too."""
        with self._tree:
            member.scope = self
            self._members.add(member)
            return not (self.cancelled or self.closed)

    def discard(self, member: Member) -> None:
        """Take a member out, if it is in."""
        with self._tree:  # under it, a member's scope does not change
            if member.scope is not self:
                return
            member.scope = None
            self._members.discard(member)
            tell = None if self._members else self._tell
        if tell is not None:
            tell()

    def let_go(self, task: Task) -> None:
        """Called at the end of a task that was submitted into this scope, before anybody who waits is told."""
        leave(task)

    def close(self, tell: Callable[[], object]) -> bool:
        """Take no more members if there are none; False if there are: then `tell()` is called when they have left.

        They may not be the last: look again then.
        """
        with self._tree:
            self._tell = tell
            self.closed = self.closed or not self._members
            return not self._members

    def seal(self) -> tuple[Member, ...]:
        """Have what comes in from now on be cancelled; return what is in: the caller must stop it, in this order."""
        with self._tree:
            self.cancelled = True
            members = tuple(self._members)
        # What runs comes first: of 100,000 members each waits for its turn up to a third of a second.
        return tuple(sorted(members, key=attrgetter("waits")))

    def cancel(self) -> None:
        """Cancel all that is in the scope, and what comes in from now on."""
        interruption: BaseException | None = None
        for member in self.seal():
            try:
                member.stop()
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, or a callback's SystemExit: the rest must stop, too
                interruption = interruption or error
        if interruption is not None:
            raise interruption

    stop = cancel

    def dissolve(self, owner: Member) -> None:
        """Hand all members to the scope around this one, when the call `owner`, whose scope it is, has ended.

        A scope that is cancelled goes up as a whole, so that it goes on cancelling what its members hand to it.
        """
        with self._tree:
            into = owner.scope
            if self.cancelled:
                self._go_up_until_empty(into)
                return
            members, self._members = self._members, set()
            # Never without a scope in between: `leave`, which looks without the lock, would be done with it.
            for member in members if into is None else ():
                member.scope = None
            late = [member for member in members if into is not None and not into.add(member)]
        for member in late:
            member.stop()

    def _go_up_until_empty(self, into: Scope | None) -> None:
        if into is not None and self._members:
            self._tell = partial(leave, self)
            into.add(self)


def leave(member: Member) -> None:
    """Take a member that has ended out of its scope."""
    scope: Scope | None
    while (scope := member.scope) is not None:
        scope.discard(member)
