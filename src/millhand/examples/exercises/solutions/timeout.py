"""A limit per call, bound by `with_options`."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from millhand import TaskTimeout, ThreadPool

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_within(work: Callable[[Item], Result], items: Iterable[Item], seconds: float) -> list[Result | None]:
    """Return the result of each call, or None for one that ran too long."""
    results: list[Result | None] = []
    with ThreadPool(10) as pool:
        quick = pool.with_options(timeout=seconds)
        for future in [quick.submit(work, item) for item in items]:
            try:
                results.append(future.result())
            except TaskTimeout:
                results.append(None)
    return results
