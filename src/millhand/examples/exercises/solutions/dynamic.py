"""`resize` holds before the next call starts."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from millhand import ThreadPool

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_in_two_sizes(
    work: Callable[[Item], Result], first: Iterable[Item], second: Iterable[Item], small: int, large: int
) -> list[Result]:
    """Run `first` on a small pool, then `second` on the same pool, made larger."""
    with ThreadPool(small) as pool:
        results = list(pool.map(work, first))
        pool.resize(large)
        return results + list(pool.map(work, second))
