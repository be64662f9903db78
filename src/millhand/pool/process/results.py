"""Reads what a worker process has written down: the results of a frame, from its sheet."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from concurrent.futures.process import _RemoteTraceback
from typing import Any

from millhand.core.errors import NotPicklable, WorkerCrashed
from millhand.pool.process.channel import Kind
from millhand.pool.process.frames import Raised, Sound
from millhand.pool.process.parcel import from_file
from millhand.pool.process.sheet import NONE, PICKLED, PICKLES, RAISED, REAL, WHOLE, Sheet

Message = tuple[Kind, int, bytes, int | None]


class Lost(Exception):
    """This says that a large result will not come."""


class Results:
    """This reads them.

    Args:
        sheet: where they are.
        receive: returns the next message of the process, None if there is none. Raises when none will come.
    """

    def __init__(self, sheet: Sheet, receive: Callable[[], Message | None]) -> None:
        self._sheet, self._receive = sheet, receive
        self._read_to = PICKLES
        self._large: dict[int, tuple[int, Any]] = {}

    def begin(self) -> None:
        """Be ready for the next frame."""
        self._read_to = PICKLES
        self._large.clear()

    def keep(self, message: Message) -> None:
        """Keep a large result, which came in a message."""
        _, number, kind, file = message
        try:
            self._large[number] = (kind[0], from_file(file or -1))
        except BaseException as error:  # noqa: BLE001 - what unpickling calls is the user's
            self._large[number] = (RAISED, (_unreadable(error), traceback.format_exc()))

    def read(self, start: int, stop: int) -> list[Any]:
        """Return what the calls from `start` to `stop` returned, or Raised. Each only once, in their order."""
        sheet = self._sheet
        kinds = bytes(sheet.kinds[start:stop])
        if not kinds or kinds.count(kinds[0]) == len(kinds):
            match kinds[0] if kinds else NONE:
                case 0:  # NONE
                    return Sound([None] * len(kinds))
                case 1:  # WHOLE
                    return Sound(sheet.wholes[start:stop].tolist())
                case 2:  # REAL
                    return Sound(sheet.reals[start:stop].tolist())
        return [self._read(n, kind) for n, kind in enumerate(kinds, start)]

    def _read(self, n: int, kind: int) -> Any:
        sheet = self._sheet
        if kind == NONE:
            return None
        if kind == WHOLE:
            return sheet.wholes[n]
        if kind == REAL:
            return sheet.reals[n]
        try:
            kind, value = self._unpickle(n, kind) if kind in (PICKLED, RAISED) else self._fetch(n)
        except Lost:
            return Raised(WorkerCrashed("the call", "has lost its socket, and with it this result"))
        except BaseException as error:  # noqa: BLE001 - what unpickling calls is the user's
            return Raised(_unreadable(error))
        if kind != RAISED:
            return value
        raised, text = value
        raised.__cause__ = _RemoteTraceback(text)
        return Raised(raised)

    def _unpickle(self, n: int, kind: int) -> tuple[int, Any]:
        end = self._sheet.wholes[n]
        pickled = bytes(self._sheet.view[self._read_to : end])  # a view could be kept by an error's traceback
        self._read_to = end
        return kind, pickle.loads(pickled)

    def _fetch(self, n: int) -> tuple[int, Any]:
        """Return a large result: it was sent before the sheet said so."""
        while n not in self._large:
            try:
                message = self._receive()
            except Exception as error:
                raise Lost from error
            if message is None:
                raise Lost
            self.keep(message)
        return self._large.pop(n)


def _unreadable(error: BaseException) -> NotPicklable:
    reason = f"{type(error).__name__}: {error}"
    wrong = NotPicklable("the result, which this process cannot unpickle,", reason, True)
    wrong.__cause__ = error
    return wrong
