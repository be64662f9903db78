"""What several tests of pools need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millhand.pool import ThreadPool


@pytest.fixture
def make() -> Iterator[Callable[..., ThreadPool]]:
    """Makes pools that are shut down at the end of the test."""
    made: list[ThreadPool] = []

    def make_one(*args: Any, **kwargs: Any) -> ThreadPool:
        made.append(ThreadPool(*args, **kwargs))
        return made[-1]

    yield make_one
    for pool in made:
        pool.shutdown()
