"""What worker processes write to stderr, and their log records: taken as it comes, by one thread for all of them."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from millhand.core.clock import Seconds

TAIL = 16_000
"""How many bytes are kept of what one process wrote to stderr."""


class Tail:
    """This passes on what is written to stderr, and keeps the last of it for whom it may concern."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> None:
        """Pass it on."""
        self._bytes = (self._bytes + data)[-TAIL:]
        with suppress(OSError):
            os.write(2, data)

    @property
    def text(self) -> str:
        """The last of it."""
        return self._bytes.decode(errors="replace").strip()


class Ear:
    """This hears one process.

    Args:
        end: of the socket that it writes to.
        feed: called with what has come, in one thread at a time.
    """

    def __init__(self, end: socket.socket, feed: Callable[[bytes], object]) -> None:
        self._end, self._feed = end, feed
        end.setblocking(False)
        self._hearing = threading.Lock()

    def hear(self) -> bool:
        """Take what has come; False if nothing has, or no more will."""
        with self._hearing:
            try:
                data = self._end.recv(65_536)
            except OSError:  # nothing has come, or it is closed
                return False
            if data:
                self._feed(data)
            return bool(data)

    def hear_out(self) -> None:
        """Take all that has come. After the process has ended, that is all there is."""
        while self.hear():
            pass

    def close(self) -> None:
        """Hear no more."""
        self.hear_out()
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)  # the pump learns of it, and lets go


class Pump:
    """This is the thread that hears them all; it lives as long as there is one to be heard.

    Args:
        name: the thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changing = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._thread: threading.Thread | None = None

    def listen(self, feed: Callable[[bytes], object]) -> tuple[Ear, socket.socket]:
        """Return an ear, and the end for the process to write to."""
        ours, theirs = socket.socketpair()
        ear = Ear(ours, feed)
        with self._changing:
            selector = self._selector or selectors.DefaultSelector()
            selector.register(ours, selectors.EVENT_READ, ear)
            if self._selector is None:
                thread = threading.Thread(target=self._run, args=(selector,), name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter ends, or the system has no more
                    selector.close()
                    raise
                self._selector, self._thread = selector, thread
        return ear, theirs

    def hold(self) -> ExitStack:
        """Have the thread live, from now on, until what this returns is closed. Raises RuntimeError if it cannot."""
        ear, mouth = self.listen(lambda _: None)
        stack = ExitStack()
        stack.callback(ear.close)
        stack.callback(mouth.close)
        return stack

    def join(self, timeout: Seconds) -> None:
        """Wait until it has let go of all: their processes have been closed. It keeps no program from ending."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _run(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                end: socket.socket = key.fileobj  # type: ignore[assignment]  # that is what was registered
                if key.data.hear() or not _is_over(end):
                    continue
                with self._changing:
                    selector.unregister(end)
                    end.close()
                    if not selector.get_map():
                        self._selector = None
                        selector.close()
                        return


def _is_over(end: socket.socket) -> bool:
    """Return whether nothing more will come; something may have been taken by somebody else."""
    try:
        return not end.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
