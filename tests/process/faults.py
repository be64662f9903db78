"""Faults of the system, thrown in at one place: the n-th time that the protocol calls one function, that fails.

What the protocol calls is replaced where its modules look it up, in this process or, by an initializer, in a worker.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
from collections.abc import Callable, Iterator, MutableSet
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

from millhand.pool.process import channel, parcel, sheet
from tests.process.patience import until

MARK = "an injected fault"
NOTHING = "nothing came"
"""No error: it is how `recv` tells that the other end is closed, and `recv_fds` that there was no number left for the
file that came."""

PLACES = {
    "sendall": (channel.Channel, "socket"),
    "recv": (channel.Channel, "socket"),
    "send_fds": (channel, "socket"),
    "recv_fds": (channel, "socket"),
    "memfd_create": (sheet, "os"),
    "truncate": (sheet, "os"),
    "pwrite": (parcel, "os"),
    "mmap": (parcel, "mmap"),
}
"""Functions, and by which name of which module or class they are reached."""


@dataclass(frozen=True, slots=True)
class Fault:
    """This is one: which function fails, at which call of it, how."""

    function: str
    error: str
    """The name of an error's number, or NOTHING."""
    n: int
    fired: Path
    """Is there once it has happened; it happens once, in whichever process is the first."""

    def strike(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Fail as that function would, or return what it would return."""
        if self.error != NOTHING:
            raise OSError(getattr(errno, self.error), MARK)  # which makes the right subclass of it
        if self.function == "recv":
            return b""
        data, files, flags, address = function(*args)
        for file in files:
            os.close(file)
        return data, [], flags | socket.MSG_CTRUNC, address


class Counted:
    """This stands for a module or a socket, and fails in one function of it when the time has come."""

    def __init__(self, real: Any, fault: Fault, calls: Iterator[int], broken: MutableSet[Any] | None = None) -> None:
        self._real, self._fault, self._calls, self._broken = real, fault, calls, broken

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return self._count(found) if name == self._fault.function else found

    def _count(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(self._calls) == self._fault.n and self._is_first():
                if self._broken is not None:
                    self._broken.add(self._real)
                return self._fault.strike(function, args)
            if self._broken and self._real in self._broken:
                return self._fault.strike(function, args)
            return function(*args, **kwargs)

        return counted

    def _is_first(self) -> bool:
        try:
            self._fault.fired.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class CountedSocket:
    """This gives a channel such a socket, also one that it has already."""

    def __init__(self, fault: Fault, calls: Iterator[int]) -> None:
        self._fault, self._calls = fault, calls
        self._broken: WeakSet[socket.socket] = WeakSet()
        """A connection that was reset stays it."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return Counted(vars(instance)["socket"], self._fault, self._calls, self._broken)

    def __set__(self, instance: Any, value: socket.socket) -> None:
        vars(instance)["socket"] = value


def arm(fault: Fault, put: Callable[[Any, str, Any], object] = setattr) -> None:
    """Have it happen in this process.

    Args:
        fault: it.
        put: sets an attribute.
    """
    where, name = PLACES[fault.function]
    calls = count(1)
    real = {"socket": socket, "os": os, "mmap": mmap}[name]
    is_module = isinstance(where, ModuleType)
    put(where, name, Counted(real, fault, calls) if is_module else CountedSocket(fault, calls))


# What a call can do to its own process.


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    until(path.exists, "the parent has given the process up")


def close_files_and_wait(path: Path) -> None:
    """Close all files but the standard ones, its process's socket among them; then wait."""
    os.closerange(3, 1_000)
    wait_for(path)
