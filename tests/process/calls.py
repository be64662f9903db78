"""What the tests have processes do: die in every way, note what they did, hold still, start others."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.patience import until

LAST_WORDS = "these are its last words"
CODE = 3
DEATHS = {
    "SIGKILL": ("was killed by SIGKILL", -signal.SIGKILL),
    "SIGSEGV": ("was killed by SIGSEGV", -signal.SIGSEGV),
    "os._exit": ("ended with exit code 3", CODE),
    "abort": ("was killed by SIGABRT", -signal.SIGABRT),
}
"""How a process can die, and what is said of it."""


def die(how: str) -> None:
    """Die in one of these ways; or raise SystemExit."""
    os.write(2, f"{LAST_WORDS}\n".encode())  # not sys.stderr: after a fork, that is still what pytest put there
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    match how:
        case "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        case "SIGSEGV":
            ctypes.string_at(0)
        case "os._exit":
            os._exit(CODE)
        case "abort":
            os.abort()
        case "sys.exit":
            sys.exit(CODE)


class Deadly:
    """This kills whoever unpickles it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        return die, (self.how,)


class Explosive:
    """This kills whoever pickles it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        die(self.how)
        return int, ()


def swallow(*_: object) -> None:
    """Take anything."""


def die_while_pickling(how: str) -> Explosive:
    """Return what cannot be pickled without dying."""
    return Explosive(how)


def die_while_writing(how: str) -> bytes:
    """Return what is large, and die when it is written to its file."""
    os.pwrite = lambda *_: die(how)  # type: ignore[assignment]  # this process will not need it again
    return bytes(1 << 20)


def die_while_handing_over(how: str) -> bytes:
    """Return what is large, and die when its file has been announced and is about to be sent."""
    socket.send_fds = lambda *_: die(how)  # type: ignore[assignment]  # as above
    return bytes(1 << 20)


def die_between_calls(how: str) -> int:
    """Return this process's number; it dies when SIGUSR1 reaches it."""
    signal.signal(signal.SIGUSR1, lambda *_: die(how))
    return os.getpid()


# What leaves a trace.


def note(path: Path, what: object) -> None:
    """Add a word to a file, in one piece."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{what}\n".encode())
    finally:
        os.close(file)


def noted(path: Path, n: int) -> int:
    """Note a number, and return it."""
    note(path, n)
    return n


def noted_or_dead(path: Path, n: int, deadly: int, how: str) -> int:
    """Note a number, and return it, or die if it is that one."""
    note(path, n)
    if n == deadly:
        die(how)
    return n


def noted_twice(path: Path, n: int, work: int) -> int:
    """Note when a call begins and when it ends, with a little work between; return its number."""
    note(path, f"b{n}")
    sum(range(work))
    note(path, f"e{n}")
    return n


def tell(path: Path, *numbers: int) -> None:
    """Write numbers to a file that is there only when they are."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(" ".join(map(str, numbers)))
    draft.rename(path)


# What takes time.


def hold(began: Path, end: Path) -> int:
    """Tell this process's number; return it when the other file is there."""
    tell(began, os.getpid())
    until(end.exists, "the test lets it go", 60)
    return os.getpid()


def meet(folder: Path, n: int) -> int:
    """Return this process's number when `n` such calls run at the same time."""
    note(folder / str(os.getpid()), "here")
    until(lambda: len(list(folder.iterdir())) >= n, f"{n} calls run at once", 15)
    return os.getpid()


def with_child(began: Path, rest: Callable[[], object]) -> None:
    """Start another program; tell its number and this process's; go on."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        tell(began, os.getpid(), child.pid)
        rest()


def spin() -> None:
    """Compute in Python, without end."""
    while True:
        pass


def compute_in_c() -> None:
    """Compute in C, for hours, and hold the interpreter's lock all the time."""
    sum(range(10**14))


def sleep() -> None:
    """Wait for longer than anybody wants to."""
    signal.sigtimedwait([], 1000)


def ignore_sigterm() -> None:
    """Ignore all polite requests, and wait."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.sigtimedwait([], 1000)


def fail() -> None:
    """Raise ValueError."""
    raise ValueError("it failed")
