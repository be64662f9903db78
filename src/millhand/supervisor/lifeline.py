"""The line between the supervisor and one child: JSON lines over a socket pair.

From the child: `loaded` (url), `ready` (whatever is worth telling), `pulse`, `failed` (reason). To the child:
`begin` (what to do), `stop` (grace). When the line breaks the supervisor is gone, and the child ends at once:
nobody beats for it any more, so its jobs are about to run elsewhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from millhand.core.clock import Seconds

ORPHANED = 70
"""The exit code of a child whose supervisor is gone."""
PULSE_EVERY: Seconds = 5.0
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """Return the message as it goes over the line."""
        return json.dumps([self.kind, self.data]).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Message:
        """Read a message back."""
        kind, data = json.loads(line)
        return cls(kind, data)


class Lifeline:
    """The child's end. A thread listens from the start, so that a broken line is noticed whatever else goes on.

    It also sends the pulse: a child whose every thread is kept from running (C code that holds the GIL) goes
    silent, and the supervisor can tell.
    """

    def __init__(self, file: int) -> None:
        self._socket = socket.socket(fileno=file)
        self._sending = threading.Lock()
        self._received: SimpleQueue[Message] = SimpleQueue()
        self._pulsing = threading.Event()
        _die_with_parent()
        threading.Thread(target=self._listen, name="millhand-lifeline", daemon=True).start()
        threading.Thread(target=self._pulse, name="millhand-pulse", daemon=True).start()

    def send(self, kind: str, **data: Any) -> None:
        """Tell the supervisor something; without one this does nothing (the listener is about to end us)."""
        with self._sending, suppress(OSError):
            self._socket.sendall(Message(kind, data).to_line())

    def receive(self) -> Message:
        """Wait for the next message."""
        return self._received.get()

    def _listen(self) -> None:
        with self._socket.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                self._received.put(Message.from_line(line))
        os._exit(ORPHANED)

    def _pulse(self) -> None:
        while not self._pulsing.wait(PULSE_EVERY):
            self.send("pulse")


def _die_with_parent() -> None:
    """Have Linux kill this process when its supervisor dies; elsewhere the listener alone has to notice.

    A function that holds the GIL for minutes keeps the listener from noticing, and would go on beside the
    runner that has its job by then.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
