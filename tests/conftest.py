"""What holds for every test: its mark by folder, the switch interval, and that nothing it opened outlives it."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARKS_BY_FOLDER = {"stress": "stress", "crash": "crash", "browser": "browser"}
SWITCH_INTERVAL = "MILLHAND_SWITCH_INTERVAL"
LASTING = ("tqdm", "pytest_timeout")  # a monitor of its own, and what watches over the time of a test
OWN_FILES = ("/proc/", "/dev/pts/", "/tmp/tmp")  # the listing itself, a terminal, what pytest captures
OWN_SUFFIXES = ("-wal", "-shm")  # SQLite opens them with the first statement, maybe of a connection of many tests
_ONCE = Counter(socket=2)  # the first server of a process opens a pair of them that the process keeps
GRACE = 2.0  # a worker that was told to stop may still be on its last lines when its test returns


def pytest_configure() -> None:
    """Make threads take turns as often as the environment says, so that races show."""
    wanted = os.environ.get(SWITCH_INTERVAL)
    if wanted is None:
        return
    try:
        sys.setswitchinterval(float(wanted))
    except ValueError as error:
        raise pytest.UsageError(f"{SWITCH_INTERVAL} must be seconds above 0, got {wanted!r}") from error


def pytest_report_header() -> str:
    return f"switch interval: {sys.getswitchinterval():g} s"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark by folder, so that a test that kills processes cannot slip into `make test` unmarked."""
    if item.path.is_relative_to(TESTS):
        mark = MARKS_BY_FOLDER.get(item.path.relative_to(TESTS).parts[0])
        if mark is not None:
            item.add_marker(mark)
        if "interrupt" in item.nodeid and item.path.parent.name == "pool":
            item.add_marker("untraced")


@pytest.fixture(scope="session", autouse=True)
def first_loop() -> None:
    """Run a uvloop once, if a test imports it: what the first one opens stays open, and is no leftover of a test."""
    uvloop = sys.modules.get("uvloop")
    if uvloop is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # which also sets its signals up
            runner.run(asyncio.sleep(0))


@pytest.fixture(autouse=True)
def no_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a thread, a socket or a file open: who starts a thing stops it."""
    before, open_before = set(threading.enumerate()), _open_files()
    yield
    deadline = time.monotonic() + GRACE
    new = [thread for thread in threading.enumerate() if thread not in before and not _is_lasting(thread)]
    for thread in new:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = sorted(thread.name for thread in new if thread.is_alive())
    if alive:
        pytest.fail(f"this test left {len(alive)} running thread(s): {', '.join(alive)}; close what started them")
    if request.node.path.parent.name not in ("pool", "flow", "contract", "stress"):
        return  # elsewhere, servers, clients and databases serve all the tests of a module
    left = _open_files() - open_before
    if left:
        gc.collect()  # what only a circle keeps open closes now, and pytest turns its ResourceWarning into an error
        left = _open_files() - open_before
        tolerated = left & _ONCE
        _ONCE.subtract(tolerated)
        left -= tolerated
    if left:
        names = ", ".join(sorted(left.elements()))
        pytest.fail(f"this test left {left.total()} open file(s) or socket(s): {names}; close what opened them")


def _is_lasting(thread: threading.Thread) -> bool:
    """Whether a thread is there once for all tests: who started it has no way to stop it."""
    return isinstance(thread, threading._DummyThread) or thread.name.startswith(LASTING)  # noqa: SLF001 - no public name


def _open_files() -> Counter[str]:
    """Return what this process has open, where the system tells: each by its name, sockets and pipes by their kind."""
    try:
        descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208 - pathlib opens it, and would list that, too
    except OSError:
        return Counter()
    found: Counter[str] = Counter()
    for descriptor in descriptors:
        with suppress(OSError):  # the one by which the folder itself was listed
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as above
            found[target.partition(":")[0]] += not (target.startswith(OWN_FILES) or target.endswith(OWN_SUFFIXES))
    return +found
