"""What worker processes hold of this one, so that they notice when it is gone; and what a fork must not hold."""

from __future__ import annotations

import os
import socket
from weakref import WeakSet

_ours: WeakSet[socket.socket] = WeakSet()
_alive: list[socket.socket] = []


def keep_from_forks(end: socket.socket) -> None:
    """Have forked children close this end of a socket: else its other end would not learn that we are gone."""
    _ours.add(end)


def lifeline() -> socket.socket:
    """Return what is open in a child as long as this process lives. Called by one thread at a time."""
    if not _alive:
        _alive.extend(socket.socketpair())
        keep_from_forks(_alive[0])
    return _alive[1]


def _let_go() -> None:
    for end in _ours:
        end.close()
    _ours.clear()
    _alive.clear()


os.register_at_fork(after_in_child=_let_go)
