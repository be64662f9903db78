"""The socket between a worker process and its minder, and the messages on it.

A message is a kind, a number, and a body; with a body may come one open file. It belongs to these two alone: no lock
is shared between processes, so none can be held by one that died.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum, auto

_HEAD = struct.Struct("<BBQQ")
CHUNK = 1 << 18
AGAIN = 2**32 - 1


class Kind(IntEnum):
    """What a message says."""

    CALLS = auto()
    """To the child: run `number` calls. body: for each the lengths of two pickles, 4 bytes each; then these, its
    function's (AGAIN: that of the call before it; 0: it is in the other one) and the rest. With a file: one call, whose
    function is the body, and the rest in the file."""
    ITEMS = auto()
    """To the child: run one function on some items. number: how many; body, or the file: all of it, pickled."""
    SHARE = auto()
    """To the child: keep the value in the file, which is shared under `number`."""
    FORGET = auto()
    """To the child: drop that value."""
    BORN = auto()
    """To the parent: it has begun."""
    READY = auto()
    """To the parent: the initializer has run."""
    FAILED = auto()
    """To the parent: the initializer has failed. body: the traceback."""
    LARGE = auto()
    """To the parent: the result of call `number` is in the file. body: its kind, one byte."""
    OVER = auto()
    """To the parent: the frame is over. number: nanoseconds that it took."""


class Channel:
    """This is one end of it."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def send(self, kind: Kind, number: int = 0, body: bytes = b"", file: int | None = None) -> None:
        """Send a message. Raises OSError if the other end is closed."""
        self.socket.sendall(_HEAD.pack(kind, file is not None, number, len(body)) + body)
        if file is not None:
            socket.send_fds(self.socket, [b"f"], [file])

    def receive(self) -> tuple[Kind, int, bytes, int | None]:
        """Wait for a message. Raises EOFError if the other end is closed."""
        kind, has_file, number, size = _HEAD.unpack(self._read(_HEAD.size))
        body = self._read(size) if size else b""
        return Kind(kind), number, body, self._receive_file() if has_file else None

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

    def _read(self, size: int) -> bytes:
        data = self._receive(min(size, CHUNK))
        if len(data) == size:
            return data
        parts, missing = [data], size - len(data)
        while missing:
            parts.append(self._receive(min(missing, CHUNK)))
            missing -= len(parts[-1])
        return b"".join(parts)

    def _receive(self, size: int) -> bytes:
        try:
            data = self.socket.recv(size, socket.MSG_WAITALL)
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return data

    def _receive_file(self) -> int:
        _, files, _, _ = socket.recv_fds(self.socket, 1, 1)
        if not files:
            raise EOFError
        return files[0]
