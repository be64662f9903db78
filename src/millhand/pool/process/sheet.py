"""The sheet of memory that a worker process and its minder share: how far a frame has come, and what came of it.

A frame is the calls that a process was given at once. A result is on the sheet before the next call begins, so a
process that dies takes at most the call with it that it runs. A pipe would do that, too, at one system call, and
often at one switch of processes, for each result; here it costs a store.

Words, in the order of the sheet:
    begun: how many calls of the frame have begun, so that all but the last of them have ended. The child writes it
        before a call, the parent 0 before a frame; UNREAD while several are unpickled, and it is not known which of
        them comes to harm.
    ended: how many have ended, where that is more. The child writes it when nothing follows, the parent 0 before that.
    halt: not 0 if no further call of the frame is to begin. The parent writes it.
    kinds, one byte per call; numbers, 8 bytes per call: a result that is None, a whole number or a float stands
    in them; anything else is pickled, one behind the other, in the rest, where `numbers` tells its end.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any

SLOTS = 16_384
"""How many calls a frame may have."""

ROOM = 1 << 18
"""How many bytes of pickles there is room for; what does not fit travels by itself (see `parcel`)."""

BEGUN, ENDED, HALT = range(3)
UNREAD = -1
NONE, WHOLE, REAL, PICKLED, RAISED, LARGE = range(6)
"""The kinds of results. RAISED is pickled, too; LARGE travels by itself."""

_KINDS = 64  # a cache line of its own for the counters
_NUMBERS = _KINDS + SLOTS
PICKLES = _NUMBERS + 8 * SLOTS
SIZE = PICKLES + ROOM


class Memory:
    """This is a piece of memory without a name that can be handed to another process.

    It is gone when nobody has it any more, however they ended.
    """

    def __init__(self, size: int) -> None:
        self.file = make_file(size)

    def close(self) -> None:
        """Give it up here."""
        os.close(self.file)

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (reduction.DupFd(self.file),)


def _receive(duplicate: Any) -> Memory:
    memory = Memory.__new__(Memory)
    memory.file = duplicate.detach()
    return memory


def make_file(size: int) -> int:
    """Return a file of so many bytes that has no name, in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("millhand")
    else:
        with tempfile.TemporaryFile() as named_nowhere:
            file = os.dup(named_nowhere.fileno())
    try:
        os.truncate(file, size)
    except BaseException:
        os.close(file)
        raise
    return file


class Sheet:
    """This is such a sheet, on a memory of SIZE bytes."""

    def __init__(self, memory: Memory) -> None:
        self.map = mmap.mmap(memory.file, SIZE)
        self.view = memoryview(self.map)
        self.words = self.view[:_KINDS].cast("q")
        self.kinds = self.view[_KINDS:_NUMBERS]
        numbers = self.view[_NUMBERS:PICKLES]
        self.wholes, self.reals = numbers.cast("q"), numbers.cast("d")

    def begin(self, size: int) -> None:
        """Make it ready for a frame of so many calls."""
        self.words[BEGUN] = self.words[ENDED] = self.words[HALT] = 0
        self.kinds[:size] = bytes(size)

    @property
    def ended(self) -> int:
        """How many calls of the frame have ended."""
        return max(self.words[ENDED], self.words[BEGUN] - 1)

    def close(self) -> None:
        """Let go of the memory."""
        for view in (self.words, self.kinds, self.wholes, self.reals, self.view):
            view.release()
        self.map.close()
