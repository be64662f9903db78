"""Values that many calls need, and that each worker process gets once."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakValueDictionary, finalize

_numbers = count(1)
_made: WeakValueDictionary[int, Shared] = WeakValueDictionary()
_received: dict[int, Any] = {}
_noticed: deque[tuple[int, Shared]] = deque()
"""What was pickled last, and in which thread."""


class Shared:
    """This stands for such a value in the arguments of calls; the function gets the value itself.

    The value is pickled once, into memory that all processes map; it is theirs to read, and what one of them writes
    to its arrays, none of the others sees. The memory goes when this is collected, and nobody has it mapped any more.

    Args:
        value: any that can be pickled.
        file: a file of its parcel; this closes it.
    """

    def __init__(self, value: object, file: int) -> None:
        self.value, self.file = value, file
        self.number = next(_numbers)
        _made[self.number] = self
        finalize(self, os.close, file)

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        _noticed.append((threading.get_ident(), self))
        return resolve, (self.number,)


def take_noticed() -> tuple[Shared, ...]:
    """Return those that were pickled in this thread since it was asked last."""
    if not _noticed:
        return ()
    thread = threading.get_ident()
    own = [entry for entry in tuple(_noticed) if entry[0] == thread]
    for entry in own:
        _noticed.remove(entry)
    return tuple(shared for _, shared in own)


def keep(number: int, value: object) -> None:
    """In a worker process: have a value that calls will ask for."""
    _received[number] = value


def forget(number: int) -> None:
    """In a worker process: have it no more."""
    _received.pop(number, None)


def resolve(number: int) -> Any:
    """Return the value. Raises LookupError where it was not sent to."""
    if number in _received:
        return _received[number]
    shared = _made.get(number)
    if shared is None:
        raise LookupError(
            "a shared value was unpickled outside of the calls of a ProcessPool of the process that shared it"
        )
    return shared.value
