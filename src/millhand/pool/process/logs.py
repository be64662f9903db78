"""Log records of worker processes: they go to the handlers of the parent."""

from __future__ import annotations

import copy
import logging
import pickle
import socket
import struct
from typing import Any

_length = struct.Struct("<I")
STANDARD = frozenset(vars(logging.makeLogRecord({})))


def levels() -> dict[str, int]:
    """Return the level of each logger that has one of its own; the root's is that of ""."""
    loggers = logging.root.manager.loggerDict
    named = {
        name: logger.level for name, logger in loggers.items() if isinstance(logger, logging.Logger) and logger.level
    }
    return {**named, "": logging.root.level}


def send_to(end: socket.socket, own_levels: dict[str, int]) -> None:
    """In a worker process: have all records go to the parent, from those levels on."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):  # a fork has the parent's handlers, and they would write twice
            logger.handlers.clear()
    logging.root.handlers[:] = [Sending(end)]
    for name, level in own_levels.items():
        logging.getLogger(name or None).setLevel(level)


class Sending(logging.Handler):
    """This sends records over a socket."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self._end = end

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        try:
            data = self._pickle(record)
            self._end.sendall(_length.pack(len(data)) + data)
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)

    def _pickle(self, record: logging.LogRecord) -> bytes:
        """Pickle one, with its text in place of arguments and tracebacks, which may not travel."""
        sent = copy.copy(record)
        text = self.format(sent)  # sets what it has of exc_text, too
        sent.msg, sent.args, sent.exc_info = sent.getMessage(), None, None
        sent.message = text
        try:
            return pickle.dumps(vars(sent))
        except Exception:  # noqa: BLE001 - what pickling calls is the user's
            return pickle.dumps({name: value for name, value in vars(sent).items() if name in STANDARD})


class Receiving:
    """This takes them out of what comes over the socket."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Handle the records that are whole."""
        self._rest += data
        while len(self._rest) >= _length.size:
            (size,) = _length.unpack_from(self._rest)
            end = _length.size + size
            if len(self._rest) < end:
                return
            handle(pickle.loads(self._rest[_length.size : end]))
            self._rest = self._rest[end:]


def handle(attributes: dict[str, Any]) -> None:
    """Give a record to the handlers that are there for its logger."""
    record = logging.makeLogRecord(attributes)
    logger = logging.getLogger(record.name if record.name != "root" else None)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
