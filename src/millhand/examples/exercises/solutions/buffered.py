"""A bounded queue: `submit` waits while every place is taken."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from millhand import ThreadPool

Item = TypeVar("Item")


def feed(work: Callable[[Item], object], source: Iterable[Item], workers: int, waiting: int) -> int:
    """Call `work` for each item; never let more than so many wait. Return how many there were."""
    with ThreadPool(workers, queue_size=waiting) as pool:
        for item in source:
            pool.submit(work, item)
    return pool.stats().submitted
