"""Where worker processes come from."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from itertools import count
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import Any

from millhand.core.errors import NotPicklable
from millhand.pool.process import logs
from millhand.pool.process.child import Setup
from millhand.pool.process.parcel import pack
from millhand.pool.process.pump import Pump
from millhand.pool.process.worker_process import LAST_WORDS, ProcessGone, WorkerProcess

ATTEMPTS = 3
"""How often a process may die while it starts before the pool gives up."""


def find_context(method: object) -> BaseContext:
    """Return how processes are started: a context, or the name of one; None: forkserver, where there is one.

    Raises:
        ValueError: there is no such start method here.
    """
    if isinstance(method, BaseContext):
        return method
    known = multiprocessing.get_all_start_methods()
    if method is None:
        return multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
    if method not in known:
        raise ValueError(
            f"mp_context must be a context of multiprocessing or one of {', '.join(known)}, got {method!r}"
        )
    return multiprocessing.get_context(str(method))


def _pack(context: BaseContext, initializer: Callable[[], object] | None) -> Callable[[], object] | bytes | None:
    """Return it pickled, where that can be done outside of the start of a process; a fork needs no pickle."""
    if initializer is None or context.get_start_method() == "fork":
        return initializer
    with suppress(NotPicklable):
        return pack(initializer, lambda: "the initializer", in_one_piece=True).data
    return initializer  # maybe it takes along what travels with the start only, such as a Queue; else that fails


def _preload(module: str) -> None:
    """Have the server from which processes are forked import a module, beside what the program has told it."""
    server: Any = forkserver._forkserver  # noqa: SLF001 - it can be set, not asked
    if module not in server._preload_modules:  # noqa: SLF001 - as above
        forkserver.set_forkserver_preload([*server._preload_modules, module])  # noqa: SLF001 - as above


class Nursery:
    """This starts them, and from the first that died on keeps one more that is ready.

    Args:
        context: how they are started.
        name: they are called `<name>_<number>`.
        initializer: run first in each.
    """

    def __init__(self, context: BaseContext, name: str, initializer: Callable[[], object] | None) -> None:
        self._context, self._name = context, name
        self._setup = Setup(logs.levels(), _pack(context, initializer))
        self._pump = Pump(f"{name}_stderr")
        self._holding: ExitStack | None = None
        self._numbers = count()
        self._spare: WorkerProcess | None = None
        self._sparing = threading.Lock()
        self._keeps_spare = False
        if context.get_start_method() == "forkserver":
            _preload("millhand.pool.process.child")

    def prepare(self) -> None:
        """Have all threads that processes need: while the interpreter ends, none can be started (from 3.12 on)."""
        with self._sparing:
            if self._holding is None:
                self._holding = self._pump.hold()

    def take(self) -> WorkerProcess:
        """Return a process that is ready.

        Raises:
            BrokenProcessPool: its initializer has failed, or it could not be started again and again.
        """
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                process = self._take_spare() or self._start()
            except BrokenProcessPool as error:  # maybe files or memory lacked at this moment only
                reason = str(error)
                continue
            try:
                failure = process.wait_until_ready()
            except ProcessGone:
                end = process.describe_end("the start of a worker")
                reason = (
                    f"worker processes end before they are ready ({end}); a program that is started by its file needs "
                    f"`if __name__ == '__main__':` around what it does, since each process imports it"
                )
                process.close(0)
                continue
            if failure is None:
                return process
            process.close()
            raise BrokenProcessPool(f"the initializer of a worker has failed: {failure.strip().splitlines()[-1]}")
        raise BrokenProcessPool(reason)

    def keep_spare(self) -> None:
        """Have one ready from now on, for the place of the next that dies."""
        with self._sparing:
            self._keeps_spare = True
            if self._spare is None:
                with suppress(BrokenProcessPool):  # whoever needs it finds out
                    self._spare = self._start()

    def close(self) -> None:
        """End the one that is kept."""
        with self._sparing:
            spare, self._spare, self._keeps_spare = self._spare, None, False
            holding, self._holding = self._holding, None
        if spare is not None:
            spare.kill_now()
            spare.close(0)
        if holding is not None:
            holding.close()

    def join(self) -> None:
        """Wait until all that its processes wrote has been passed on; when they have ended."""
        self._pump.join(LAST_WORDS)

    def _take_spare(self) -> WorkerProcess | None:
        with self._sparing:
            spare, self._spare = self._spare, None
        if self._keeps_spare:
            self.keep_spare()
        return spare

    def _start(self) -> WorkerProcess:
        name = f"{self._name}_{next(self._numbers)}"
        try:
            return WorkerProcess(self._context, name, self._setup, self._pump)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise BrokenProcessPool(f"no process can be started: {reason}") from error
