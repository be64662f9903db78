"""One look at the pool when everything has ended: then every count is exact."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from millhand import ThreadPool

Item = TypeVar("Item")


def run_and_report(work: Callable[[Item], object], items: Iterable[Item]) -> dict[str, float]:
    """Run everything; return how many calls there were, how they ended, and how long the longest took."""
    with ThreadPool(4) as pool:
        for item in items:
            pool.submit(work, item)
    stats = pool.stats()
    return {
        "submitted": stats.submitted,
        "done": stats.done,
        "failed": stats.failed,
        "slowest": max((slow.run for slow in stats.slowest), default=0),
    }
