"""What a forked process must not keep open of its parent, or others would not notice when the parent lets it go."""

from __future__ import annotations

import os
import socket
from weakref import WeakSet

_ours: WeakSet[socket.socket] = WeakSet()


def keep_from_forks(*ends: socket.socket) -> None:
    """Have forked children close these ends of sockets: else the other ends would not learn that we are gone."""
    _ours.update(ends)


def _let_go() -> None:
    for end in _ours:
        end.close()
    _ours.clear()


os.register_at_fork(after_in_child=_let_go)
