"""A pool as a context manager, and its `map`."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from millhand import ThreadPool

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """Call `work` for each item, on so many threads; return the results in the order of the items."""
    with ThreadPool(workers) as pool:
        return list(pool.map(work, items))
