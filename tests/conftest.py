"""What holds for every test: its mark by folder, the switch interval, and that no thread outlives it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARKS_BY_FOLDER = {"stress": "stress", "crash": "crash", "browser": "browser"}
SWITCH_INTERVAL = "MILLHAND_SWITCH_INTERVAL"
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


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """Fail the test that leaves a new non-daemon thread behind: who starts a thing stops it."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE
    new = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in new:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = sorted(thread.name for thread in new if thread.is_alive())
    if alive:
        pytest.fail(f"this test left {len(alive)} running thread(s): {', '.join(alive)}; close what started them")
