"""One worker process, from the outside: how it is started, given frames, killed, and what it died of."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any
from weakref import ref

from millhand.core.clock import Seconds
from millhand.core.errors import WorkerCrashed
from millhand.pool.process import child, logs
from millhand.pool.process.channel import AGAIN, Channel, Kind
from millhand.pool.process.frames import Frame, Unsent
from millhand.pool.process.lifeline import keep_from_forks
from millhand.pool.process.packed import Packed
from millhand.pool.process.parcel import Parcel
from millhand.pool.process.pump import Pump, Tail
from millhand.pool.process.results import Results
from millhand.pool.process.shared import Shared
from millhand.pool.process.sheet import (
    BEGUN,
    ENDED,
    HALT,
    SIZE,
    Memory,
    Sheet,
)

LAST_WORDS: Seconds = 1.0
"""How long one that has died may take to be gone: its exit code, and the rest of what it wrote."""

BIRTH: Seconds = 10.0
"""How long one that is forked from this program may take to begin: what it needs then, another thread may have locked
in the moment of the fork, and it would hang for ever. Otherwise it begins as late as its imports let it."""

_starting = threading.Lock()
"""multiprocessing's table of processes is not made for threads."""


class ProcessGone(Exception):
    """This says that the process has died, or is about to."""


class WorkerProcess:
    """This is one of them. Its minder's thread alone talks to it; any thread may kill it.

    Args:
        context: how it is started.
        name: its name.
        setup: what it begins with.
        pump: where its stderr goes.
    """

    def __init__(self, context: BaseContext, name: str, setup: child.Setup, pump: Pump) -> None:
        self._errors = Tail()
        with _starting, ExitStack() as its, ExitStack() as ours:  # what the process gets, and what is kept if it starts
            end, theirs = _pair(ours, its)
            self._life, life = _pair(ours, its)
            keep_from_forks(end, self._life)
            ear, mouth = pump.listen(self._errors.feed)
            ours.callback(ear.close)
            its.callback(mouth.close)
            log_ear, log = pump.listen(logs.Receiving().feed)
            ours.callback(log_ear.close)
            its.callback(log.close)
            self._ears = (ear, log_ear)
            memory = Memory(SIZE)
            its.callback(memory.close)
            self._sheet = Sheet(memory)
            ours.callback(self._sheet.close)
            arguments = (theirs, life, mouth, log, memory, setup)
            make: Any = context.Process  # type: ignore[attr-defined]  # typeshed has it on the concrete contexts
            self._process = make(target=child.main, args=arguments, name=name)
            self._process.start()
            ours.pop_all()
        self._channel = Channel(end)
        self._pid: int = self._process.pid
        self._birth = BIRTH if context.get_start_method() == "fork" else None
        self._end = _watch(self._process, context)
        self._killing = threading.Lock()
        self._tasks: Sequence[object] = ()
        self._size = 0
        self._alone = False
        """Whether the call that it runs is the only one of its frame that may still run."""
        self._condemned: list[tuple[object, Exception]] = []
        self._verdict: Exception | None = None
        """What the call is told for which it was killed."""
        self._reason = ""
        self._known: dict[int, ref[Shared]] = {}
        self._unneeded: deque[int] = deque()
        """Of the shared values that it knows, those that nobody can send it any more."""
        self._is_ready = self._is_closed = False
        self._results = Results(self._sheet, partial(self._receive, 0))
        self.served = 0
        """How many calls it was given."""
        self._socket = end.fileno()
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._end, select.POLLIN)

    # For its minder.

    def wait_until_ready(self) -> str | None:
        """Wait until its initializer has run; return the traceback if that failed. Raises ProcessGone."""
        if self._is_ready:
            return None
        if self._receive(self._birth) is None:
            self.kill_for("hangs since its fork, at a lock that another thread held; forkserver has no such trap")
            raise ProcessGone
        kind, _, body, _ = self._receive(None)
        self._is_ready = kind is Kind.READY
        return None if self._is_ready else body.decode(errors="replace")

    def begin(self, frame: Frame) -> None:
        """Be about to send a frame."""
        self._sheet.begin(frame.size)
        self._results.begin()
        self.served += frame.size
        with self._killing:
            self._tasks, self._size, self._alone = frame.tasks, frame.size, frame.size == 1

    def over(self) -> bool:
        """Note that no frame is under way; False if somebody has killed it for one of them, so that it is no use."""
        with self._killing:
            self._tasks = ()
            self._condemned.clear()
            return self._verdict is None

    def send_calls(self, calls: Sequence[Packed]) -> None:
        """Send a frame of small calls. Raises ProcessGone."""
        sizes, parts, last = array("I"), [b""], None
        for packed in calls:
            head, data = packed.head, packed.data
            if head is last:
                sizes.append(AGAIN)
            else:
                sizes.append(len(head))
                parts.append(head)
                last = head
            sizes.append(len(data))
            parts.append(data)
            if packed.shares:
                self._send_shares(packed)
        parts[0] = sizes.tobytes()
        self._send(Kind.CALLS, len(calls), b"".join(parts))

    def send_call(self, packed: Packed) -> None:
        """Send a frame that is one call. Raises ProcessGone; Unsent: there is no memory for it."""
        if packed.is_large:
            self._send_file(Kind.CALLS, packed, 1, packed.head)
        else:
            self.send_calls([packed])

    def send_items(self, parcel: Parcel, size: int) -> None:
        """Send a frame of items of a map. Raises as `send_call`."""
        if parcel.is_large:
            self._send_file(Kind.ITEMS, parcel, size)
        else:
            self._send_shares(parcel)
            self._send(Kind.ITEMS, size, parcel.data)

    def _send_file(self, kind: Kind, parcel: Parcel, size: int, body: bytes = b"") -> None:
        self._send_shares(parcel)
        try:
            file = parcel.to_file()
        except OSError as error:
            raise Unsent(error) from error
        try:
            self._send(kind, size, body, file)
        finally:
            os.close(file)

    def _send_shares(self, parcel: Parcel) -> None:
        """Send the shared values that a parcel needs and this process has not, and drop those that nobody needs."""
        while self._unneeded:
            number = self._unneeded.popleft()
            del self._known[number]
            self._send(Kind.FORGET, number)
        for share in parcel.shares:
            if share.number not in self._known:
                self._send(Kind.SHARE, share.number, file=share.file)
                drop = partial(_append, self._unneeded, share.number)
                self._known[share.number] = ref(share, drop)

    def wait(self, timeout: Seconds | None) -> float | None:
        """Wait for the end of the frame; return how long it took, in seconds; None after `timeout`.

        Raises ProcessGone.
        """
        while True:
            message = self._receive(timeout)
            if message is None:
                return None
            kind, number, _, _ = message
            if kind is Kind.OVER:
                return float(number) / 1e9
            self._results.keep(message)

    def halt(self) -> None:
        """Have it begin no further call of this frame."""
        self._sheet.words[HALT] = 1

    @property
    def ended(self) -> int:
        """How many calls of the frame have ended."""
        return self._sheet.ended

    @property
    def is_in_a_call(self) -> bool:
        """Whether it has begun a call that has not ended."""
        words = self._sheet.words
        return words[BEGUN] > words[ENDED]

    def results(self, start: int, stop: int) -> list[Any]:
        """Return what the calls from `start` to `stop` returned, or Raised. Each only once, in their order."""
        return self._results.read(start, stop)

    # Its end.

    def kill(self, task: object, verdict: Exception) -> bool:
        """Kill it if it runs this task; return whether it does, or was about to. From any thread.

        One of several in a frame is killed only when it is certain that no other can have begun (`runs_only`).
        """
        with self._killing:
            if not self._tasks:  # nothing is under way, and after `close` there is no sheet to look at
                return False
            for_all = len(self._tasks) == 1
            mine = any(each is task for each in self._tasks[0 if for_all else self.ended :])
            if not mine or self.ended >= self._size:
                return False
            self._condemned.append((task, verdict))
            self.halt()
            if self._alone:
                self._execute()
            return True

    def runs_only(self, frame: Frame) -> None:
        """Note that of a frame that was halted, and cut, only the last call runs, and no other will begin."""
        with self._killing:
            self._tasks, self._size, self._alone = frame.tasks, frame.size, True
            self._execute()

    def _execute(self) -> None:
        for task, verdict in self._condemned:
            if task is self._tasks[-1]:
                self._verdict = verdict
                self._strike()

    def kill_for(self, reason: str) -> None:
        """Kill it, whatever it does, for a reason that is told to the call that it runs. From any thread."""
        with self._killing:
            self._reason = reason
            self._strike()

    def kill_now(self) -> None:
        """Kill it, whatever it does. From any thread."""
        with self._killing:
            self._strike()

    def _strike(self) -> None:
        """Kill it. Under the lock, or its number may be another's by now."""
        if self._is_closed:
            return
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except OSError:  # it leads no group yet, or is gone
            with suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)

    def see_end(self) -> None:
        """Wait until it has ended; kill it if it takes long. Then what is on the sheet is final."""
        self.halt()  # it may have lost its socket only, and go on
        if not self._await_end(LAST_WORDS):
            self.kill_now()
            self._await_end(LAST_WORDS)

    def describe_end(self, name: str) -> Exception:
        """Return the error for the call that it died in."""
        self.see_end()
        if self._verdict is not None:
            return self._verdict
        code = self.exitcode
        for ear in self._ears:
            ear.hear_out()
        return WorkerCrashed(name, self._reason or _reason(code), code, self._errors.text)

    def close(self, patience: Seconds = LAST_WORDS) -> None:
        """Let it end, or after `patience` kill it, with all of its group; return when it has ended."""
        self._channel.close()
        if not self._await_end(patience):
            self.kill_now()
            self._await_end(LAST_WORDS)
        self.kill_now()  # what it has started and left behind
        with self._killing:
            self._tasks, self._is_closed = (), True
            self._sheet.close()
        with _starting:
            self._process.join(0)
            with suppress(ValueError):  # not even SIGKILL has ended it yet: uninterruptible
                self._process.close()
        os.close(self._end)
        self._life.close()
        for ear in self._ears:
            ear.close()

    @property
    def exitcode(self) -> int | None:
        """As multiprocessing has it."""
        with _starting:
            code: int | None = self._process.exitcode
        return code

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def _await_end(self, timeout: Seconds) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def _send(self, kind: Kind, size: int, body: bytes = b"", file: int | None = None) -> None:
        try:
            self._channel.send(kind, size, body, file)
        except OSError as error:
            raise ProcessGone from error

    def _receive(self, timeout: Seconds | None) -> Any:
        ready = self._poll.poll(None if timeout is None else timeout * 1000)
        if not ready:
            return None
        if any(file == self._socket for file, _ in ready):  # first, also if it is dead: it may have said something
            try:
                return self._channel.receive()
            except (EOFError, OSError) as error:
                raise ProcessGone from error
        raise ProcessGone


def _append(numbers: deque[int], number: int, _: object) -> None:
    numbers.append(number)


def _reason(code: int | None) -> str:
    if code is None:
        return "has closed its socket"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _pair(ours: ExitStack, its: ExitStack) -> tuple[socket.socket, socket.socket]:
    end, other = socket.socketpair()
    ours.callback(end.close)
    its.callback(other.close)
    return end, other


def _watch(process: Any, context: BaseContext) -> int:
    """Return a file that can be read when a process has ended."""
    if context.get_start_method() == "forkserver" or not hasattr(os, "pidfd_open"):
        return os.dup(process.sentinel)
    return os.pidfd_open(process.pid)  # the sentinel also waits for those that the process has forked


def _free_lock() -> None:
    global _starting  # noqa: PLW0603 - it may have been held by another thread in the moment of the fork
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_free_lock)
