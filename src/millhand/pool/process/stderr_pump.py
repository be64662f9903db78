"""What worker processes write to stderr: passed on as it comes, and the last of it kept for whom it may concern."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from contextlib import suppress

TAIL = 2_000
"""How many bytes are kept of each."""


class Ear:
    """This hears one process.

    Args:
        end: of the socket that it writes to.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        end.setblocking(False)
        self._tail = b""
        self._hearing = threading.Lock()
        """Who reads: the pump, or who wants the last words."""

    def hear(self) -> bool:
        """Pass on what has come; False if no more will come."""
        with self._hearing:
            try:
                data = self.end.recv(65_536)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if data:
                self._tail = (self._tail + data)[-TAIL:]
                with suppress(OSError):
                    os.write(2, data)
            return bool(data)

    def last_words(self) -> str:
        """Return the last that was written; only when the process has ended, so that all of it has come."""
        before = None
        while before != self._tail:
            before = self._tail
            self.hear()
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Hear no more."""
        while True:
            before = self._tail
            if not self.hear() or before == self._tail:
                break
        with suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)  # the pump learns of it, and closes


class Pump:
    """This is the thread that hears them all; it lives as long as there is one to be heard.

    Args:
        name: the thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changing = threading.Lock()
        self._selector: selectors.BaseSelector | None = None

    def listen(self) -> tuple[Ear, socket.socket]:
        """Return an ear, and the end for the process to write to."""
        ours, theirs = socket.socketpair()
        ear = Ear(ours)
        with self._changing:
            if self._selector is None:
                self._selector = selectors.DefaultSelector()
                self._selector.register(ours, selectors.EVENT_READ, ear)  # first: without any, the thread ends
                threading.Thread(target=self._run, args=(self._selector,), name=self._name, daemon=True).start()
            else:
                self._selector.register(ours, selectors.EVENT_READ, ear)
        return ear, theirs

    def _run(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                if key.data.hear():
                    continue
                with self._changing:
                    selector.unregister(key.fileobj)
                    key.data.end.close()
                    if not selector.get_map():
                        self._selector = None
                        selector.close()
                        return
