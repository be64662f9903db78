"""The worker process, from the inside: it runs one frame after the other until its parent closes the socket.

It leads a process group of its own, so that Ctrl-C is the parent's alone, and so that its own children go with it.
It dies with its parent, also when that is killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import logging
import os
import pickle
import select
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pickle import Pickler
from typing import Any, cast

from millhand.core.errors import NotPicklable
from millhand.pool.process import logs, shared
from millhand.pool.process.channel import AGAIN, Channel, Kind
from millhand.pool.process.packed import FUNCTIONS, call_packed
from millhand.pool.process.parcel import Parcel, collect_large, from_file, pack
from millhand.pool.process.sheet import (
    BEGUN,
    ENDED,
    HALT,
    LARGE,
    PICKLED,
    PICKLES,
    RAISED,
    REAL,
    SIZE,
    UNREAD,
    WHOLE,
    Memory,
    Sheet,
)


@dataclass(frozen=True, slots=True)
class Setup:
    """This is what a process begins with."""

    levels: dict[str, int]
    """Those of loggers."""
    initializer: Callable[[], object] | bytes | None
    """Pickled, unless it takes along what travels only with the start of a process, such as a Queue."""


OURS = __name__.rpartition(".")[0]
"""Where the frames stand that are no part of a call."""

WHOLE_NUMBERS = range(-(2**63), 2**63)


def main(
    end: socket.socket,
    alive: socket.socket,
    errors: socket.socket,
    log: socket.socket,
    memory: Memory,
    setup: Setup,
) -> None:
    """Be a worker process.

    Args:
        end: of the socket to the minder.
        alive: nothing comes over it; its other end is open as long as the parent lives.
        errors: where what is written to stderr goes.
        log: where log records go.
        memory: of the sheet.
        setup: what is to be done before the first call.
    """
    _stand_alone(alive, errors)
    channel, sheet = Channel(end), Sheet(memory)
    channel.send(Kind.BORN)
    try:
        logs.send_to(log, setup.levels)
        initializer = pickle.loads(setup.initializer) if isinstance(setup.initializer, bytes) else setup.initializer
        if initializer is not None:
            initializer()
    except BaseException:
        # Where the standard library's pools log it. Here, since the initializer may have set a handler up.
        logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
        channel.send(Kind.FAILED, body=traceback.format_exc().encode())
        return
    channel.send(Kind.READY)
    with contextlib.suppress(EOFError, OSError):  # the parent has closed it, or is gone
        Bench(channel, sheet).serve()


def _stand_alone(alive: socket.socket, errors: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it leads one already
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(errors.fileno(), 2)
    errors.close()
    faulthandler.enable(2)
    _die_with(alive)


def _die_with(alive: socket.socket) -> None:
    """Have the whole group die when the other end closes, whatever it does then."""
    if hasattr(fcntl, "F_SETSIG"):  # Linux: the kernel sees to it, also while C code holds the interpreter's lock
        fcntl.fcntl(alive, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(alive, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(alive, fcntl.F_SETFL, fcntl.fcntl(alive, fcntl.F_GETFL) | os.O_ASYNC)
    # Also for a parent that was gone before that.
    threading.Thread(target=_watch, args=(alive,), name="parent watch", daemon=True).start()


def _watch(alive: socket.socket) -> None:
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.poll()  # not `recv`: whoever waits in it gets the news, and the signal is not sent
    os.killpg(0, signal.SIGKILL)


class Bench:
    """This is where calls are run, and their results written down."""

    def __init__(self, channel: Channel, sheet: Sheet) -> None:
        self._channel, self._sheet = channel, sheet
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._buffers: list[pickle.PickleBuffer] = []
        self._pickler = Pickler(sheet.map, 5, buffer_callback=partial(collect_large, self._buffers))

    def serve(self) -> None:
        """Run frames until the socket is closed. Raises EOFError then."""
        while True:
            kind, size, body, file = self._channel.receive()
            if kind is Kind.SHARE:
                shared.keep(size, from_file(cast("int", file)))
                continue
            if kind is Kind.FORGET:
                shared.forget(size)
                continue
            began = time.monotonic_ns()
            self._sheet.map.seek(PICKLES)
            if kind is Kind.ITEMS:
                self._run_items(size, body, file)
            elif file is not None:
                self._run_call(1, body, file)
            else:
                self._run_calls(size, body)
            del body
            self._channel.send(Kind.OVER, time.monotonic_ns() - began)

    def _run_calls(self, size: int, body: bytes) -> None:
        words, view, key = self._sheet.words, memoryview(body), b""
        start = 8 * size
        sizes = view[:start].cast("I").tolist()
        for n, (head, data) in enumerate(zip(sizes[::2], sizes[1::2], strict=True), 1):
            if words[HALT]:
                return
            if head != AGAIN:
                key, start = body[start : start + head], start + head
            start += data
            self._run_call(n, key, view[start - data : start])

    def _run_call(self, n: int, key: bytes, data: memoryview | int) -> None:
        """Run call number `n`: of the function of that pickle, or of the one in its data; these may be in a file."""
        words = self._sheet.words
        words[BEGUN] = n
        try:
            value = call_packed(  # the data first: its file is closed, whatever comes of the function
                from_file(data) if isinstance(data, int) else data and pickle.loads(data),
                self._functions.get(key) or self._learn(key),
            )
        except BaseException as error:  # noqa: BLE001 - the edge of a worker: the submitter gets it, whatever it is
            self._note_error(n - 1, error)
        else:
            self._note(n - 1, value)
        words[ENDED] = n

    def _learn(self, key: bytes) -> Callable[..., Any] | None:
        """Return the function of a pickle, and know it from now on."""
        if not key:
            return None
        fn: Callable[..., Any] = pickle.loads(key)
        if len(self._functions) >= FUNCTIONS:
            self._functions.clear()
        self._functions[key] = fn
        return fn

    def _run_items(self, size: int, body: bytes, file: int | None) -> None:
        sheet = self._sheet
        words, kinds, wholes = sheet.words, sheet.kinds, sheet.wholes
        words[BEGUN] = 1 if size == 1 else UNREAD
        try:
            fn, items = pickle.loads(body) if file is None else from_file(file)
        except BaseException as error:  # noqa: BLE001 - what unpickling calls is the user's
            if size == 1:  # else the parent sends them again, one by one
                self._note_error(0, error)
                words[ENDED] = 1
            return
        del body
        for n, item in enumerate(items):
            words[BEGUN] = n + 1  # by which the one before has ended; then the look, or who halts it could not tell
            if words[HALT]:  # whether this one or the one before is under way
                words[ENDED] = words[BEGUN] = n
                return
            try:
                value = fn(item)
            except BaseException as error:  # noqa: BLE001 - as above
                self._note_error(n, error)
            else:
                # What is quickest to run is what most often returns one of these two.
                if value is not None:
                    if type(value) is int and value in WHOLE_NUMBERS:
                        wholes[n] = value
                        kinds[n] = WHOLE
                    else:
                        self._note(n, value)
        words[ENDED] = size

    def _note(self, n: int, value: object) -> None:
        """Write a result down."""
        sheet = self._sheet
        if value is None:
            pass  # the sheet says so
        elif type(value) is int and value in WHOLE_NUMBERS:
            sheet.wholes[n] = value
            sheet.kinds[n] = WHOLE
        elif type(value) is float:
            sheet.reals[n] = value
            sheet.kinds[n] = REAL
        else:
            try:
                self._pickle(n, PICKLED, value)
            except BaseException as error:  # noqa: BLE001 - what pickling calls is the user's
                self._note_error(n, error)

    def _note_error(self, n: int, error: BaseException) -> None:
        """Write down what a call raised, or what stands in for it if it cannot travel."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals["__name__"].startswith(OURS):
            trace = trace.tb_next
        text = "".join(traceback.format_exception(type(error), error, trace))
        error.__traceback__ = None
        what = f"the exception that the call raised, a {type(error).__qualname__},"
        try:
            parcel = pack((error, text), lambda: what)
            pickle.loads(parcel.data, buffers=parcel.buffers)
        except NotPicklable as reason:
            error = reason
        except Exception as reason:  # noqa: BLE001 - what unpickling calls is the user's
            error = NotPicklable(what, f"{type(reason).__name__}: {reason}")
        self._pickle(n, RAISED, (error, text))

    def _pickle(self, n: int, kind: int, value: object) -> None:
        """Pickle a result to the sheet, or send it if there is no room for it. Raises NotPicklable."""
        memory, pickler = self._sheet.map, self._pickler
        start = memory.tell()
        try:
            pickler.dump(value)
            fits = not self._buffers
        except Exception:  # noqa: BLE001 - no room; if it is something else, `pack` runs into it, too
            fits = False
        finally:
            pickler.clear_memo()
            self._buffers.clear()
        if not fits:
            memory.seek(start)
            parcel = pack(value, lambda: f"the result, a {type(value).__qualname__},")
            fits = not parcel.is_large and start + len(parcel.data) <= SIZE
            if fits:
                memory.write(parcel.data)
            else:
                self._send_large(n, kind, parcel)
        if fits:
            self._sheet.wholes[n] = memory.tell()
        self._sheet.kinds[n] = kind if fits else LARGE

    def _send_large(self, n: int, kind: int, parcel: Parcel) -> None:
        file = parcel.to_file()
        try:
            self._channel.send(Kind.LARGE, n, bytes([kind]), file)
        finally:
            os.close(file)
        if not parcel.is_large:
            self._sheet.words[HALT] = 1  # the sheet is full: the next frame finds it empty
