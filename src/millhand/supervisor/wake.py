"""How the HTTP process and the runner wake each other: one datagram after a commit, straight between them.

A lost one costs a few milliseconds, no more: both also look at the database's change number.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Wake:
    """One end of the pair. Ringing never waits; rings that nobody has heard yet are one."""

    def __init__(self, file: int) -> None:
        self._socket = socket.socket(fileno=file)

    def ring(self) -> None:
        """Wake the other side."""
        with suppress(OSError):  # full: it has been rung already; refused: the other side is being restarted
            self._socket.send(b"!", socket.MSG_DONTWAIT)

    def listen(self, callback: Callable[[], None]) -> None:
        """Call back after each ring, from a thread that lives as long as the process."""

        def hear() -> None:
            while self._socket.recv(64):
                callback()

        threading.Thread(target=hear, name="millhand-wake", daemon=True).start()
