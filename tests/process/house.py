"""Calls for pools of either kind, and a gate that holds them: FIFOs reach threads and processes alike."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from millhand import Future, ProcessPool, ThreadPool
from millhand.pool.current import check_cancelled

AnyPool: TypeAlias = ThreadPool | ProcessPool
Pools: TypeAlias = Callable[..., Any]
KINDS: dict[str, type[AnyPool]] = {"threads": ThreadPool, "processes": ProcessPool}
PATIENCE = 10.0
"""How many seconds a test waits for what must happen soon."""

_numbers = count()


class Gate:
    """Holds calls, in whichever process they run, until it is opened.

    Args:
        folder: where it may have its FIFOs.
    """

    def __init__(self, folder: Path) -> None:
        number = next(_numbers)
        self._names = names = [str(folder / f"{name}-{number}") for name in ("entered", "release")]
        for name in names:
            os.mkfifo(name)
        # In both directions: then neither this nor a call waits until somebody opens the other end.
        self._entered, self._release = (os.open(name, os.O_RDWR) for name in names)
        self.wait = partial(wait_at, *names)

    def hold(self, door: Any, calls: int = 1) -> list[Future[Any]]:
        """Submit calls, and wait until all of them are held."""
        futures = [door.submit(self.wait, n) for n in range(calls)]
        self.await_calls(calls)
        return futures

    def await_calls(self, calls: int = 1) -> None:
        """Wait until so many more calls are held."""
        ready = select.poll()
        ready.register(self._entered, select.POLLIN)
        for _ in range(calls):
            assert ready.poll(PATIENCE * 1_000), "no call has come to the gate"
            os.read(self._entered, 1)

    def open(self, calls: int = 1) -> None:
        """Let so many calls go on."""
        os.write(self._release, b"." * calls)

    def close(self) -> None:
        """Let all calls go on that are still there: they read the end of the FIFO. What comes later finds none."""
        for name in self._names:
            Path(name).unlink()
        os.close(self._release)
        os.close(self._entered)


def wait_at(entered: str, release: str, value: object = None) -> object:
    """Be held by a gate."""
    # The gate first: when the bell has rung, it may be closed.
    with Path(release).open("rb", buffering=0) as gate, Path(entered).open("wb", buffering=0) as bell:
        bell.write(b".")
        gate.read(1)
    return value


@contextmanager
def making(kind: str) -> Iterator[Pools]:
    """Make pools that are shut down at the end."""
    made: list[AnyPool] = []

    def make(*args: Any, **kwargs: Any) -> AnyPool:
        made.append(KINDS[kind](*args, **kwargs))
        return made[-1]

    yield make
    for pool in made:
        pool.shutdown(cancel_futures=True)


@contextmanager
def gating(folder: Path) -> Iterator[Callable[[], Gate]]:
    """Make gates that are closed at the end, so that no pool waits for what a failed test held."""
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate(folder))
        return made[-1]

    yield make
    for gate in made:
        gate.close()


def eventually(holds: Callable[[], object]) -> bool:
    """Look until it holds, for as long as a test has patience."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


# Calls.


def note(path: str, text: str) -> str:
    """Write a word down: which calls have run, and in which order."""
    with Path(path).open("a") as file:
        file.write(f"{text} ")
    return text


def noted(path: Path) -> str:
    """Return what was written down, word by word."""
    return " ".join(path.read_text().split()) if path.exists() else ""


def note_item(path: str, item: int) -> int:
    """Write an item down, for `map`."""
    note(path, str(item))
    return item


def give_back(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the arguments."""
    return args, kwargs


def fail(error: BaseException) -> None:
    """Raise it."""
    raise error


def fail_at(bad: int, item: int) -> int:
    """Fail at one item, for `map`."""
    if item == bad:
        raise LookupError(item)
    return item


def heed(entered: str) -> None:
    """Run until asked to stop: a thread looks, a process is killed."""
    with Path(entered).open("wb", buffering=0) as bell:
        bell.write(b".")
    deadline = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < deadline:
        check_cancelled()
        time.sleep(0.001)


def heeding(gate: Gate) -> Callable[[], None]:
    """Return a call that rings a gate's bell, and then runs until asked to stop."""
    return partial(heed, gate.wait.args[0])
