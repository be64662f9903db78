"""What all tests of processes need: that nothing is left of what they started, and pools that end with the test."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millhand.pool.process.pool import ProcessPool
from tests.process.leftovers import Census

METHODS = [
    pytest.param(name, marks=[pytest.mark.slow] * (name == "spawn"))
    for name in ("forkserver", "spawn", "fork")
    if name in multiprocessing.get_all_start_methods()
]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let tests fork this program though it has threads: Python warns of it since 3.12, and it is what they ask for.

    Without coverage: its tracer has a lock, which another thread may hold in that moment.
    """
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"))
        if "fork" in item.nodeid.replace("forkserver", ""):
            item.add_marker("untraced")


@pytest.fixture(scope="session")
def once() -> None:
    """Start processes, so that what the first of a kind opens for good is no leftover of a test; a fork opens none."""
    Census()
    for method in {*multiprocessing.get_all_start_methods()} - {"fork"}:
        with ProcessPool(1, method) as pool:
            pool.submit(int).result(10)


@pytest.fixture(autouse=True)
def nothing_left(once: None) -> Iterator[None]:
    """Fail the test that leaves a process, a file or a name in shared memory."""
    before = Census()
    yield
    before.assert_nothing_new()


@pytest.fixture
def make(nothing_left: None) -> Iterator[Callable[..., ProcessPool]]:
    """Makes pools that are shut down at the end of the test."""
    made: list[ProcessPool] = []

    def make_one(*args: Any, **kwargs: Any) -> ProcessPool:
        made.append(ProcessPool(*args, **kwargs))
        return made[-1]

    yield make_one
    for pool in made:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Each way in which processes are started."""
    return str(request.param)
