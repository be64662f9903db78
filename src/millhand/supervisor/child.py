"""One child process as its supervisor sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from millhand.core.clock import Instant, Seconds
from millhand.supervisor.lifeline import Message

RESTART_DELAYS: Sequence[Seconds] = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""How long to wait before the n-th restart in a row; a child that lived for a minute begins anew."""
STEADY_AFTER: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start: a readable name, a command that ends with the numbers of its files, and its orders.

    `runs_jobs`: the supervisor announces it as a runner and beats for it.
    `wake`: the child's end of the wake pair.
    """

    name: str
    command: Sequence[str]
    orders: dict[str, Any] = field(default_factory=dict)
    runs_jobs: bool = False
    wake: socket.socket | None = None


class Child:
    """A child that is started, listened to, asked to stop and, if need be, killed."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.line: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.was_ready = False
        """Whether it was ready in any of its lives; one that never was is not started again and again."""
        self.last_pulse: Instant = 0.0
        self.told_to_stop = False
        self.kill_at: Instant | None = None
        self.start_at: Instant = 0.0
        self._started_at: Instant = 0.0
        self._failures = 0
        self._unread = b""

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; once it has ended it is reaped here."""
        return self.process is not None and self.process.poll() is None

    def start(self, now: Instant) -> None:
        """Start the process, in a group of its own: a Ctrl-C in the terminal reaches only the supervisor."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        files = [theirs.fileno()] + ([self.spec.wake.fileno()] if self.spec.wake else [])
        command = [*self.spec.command, *map(str, files)]
        try:
            self.process = subprocess.Popen(command, pass_fds=files, process_group=0, stdin=subprocess.DEVNULL)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.line, self.ready, self.kill_at, self._unread = ours, False, None, b""
        self.last_pulse = self._started_at = now

    def send(self, kind: str, **data: Any) -> None:
        """Tell the child something."""
        if self.line is not None:
            with suppress(OSError):  # it has just died; its exit is noticed by itself
                self.line.sendall(Message(kind, data).to_line())

    def receive(self) -> list[Message]:
        """Return what the child said since the last call."""
        if self.line is None:
            return []
        try:
            self._unread += self.line.recv(65536)
        except OSError:
            return []
        *lines, self._unread = self._unread.split(b"\n")
        return [Message.from_line(line) for line in lines]

    def kill(self) -> None:
        """End the process and all that it started, now."""
        if self.process is not None:
            self.kill_at, self.ready = None, False  # once is enough
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self, now: Instant) -> int:
        """Tidy up after the process has ended, plan the restart, and return its exit code."""
        assert self.process is not None  # noqa: S101 - only a child that was started is buried
        self.kill()  # what is left of its group
        code = self.process.wait()
        self.process = None
        if self.line is not None:
            self.line.close()
            self.line = None
        self._failures = 0 if now - self._started_at > STEADY_AFTER else self._failures + 1
        self.start_at = now + RESTART_DELAYS[min(self._failures, len(RESTART_DELAYS)) - 1 if self._failures else 0]
        return code
