"""`exception()` waits as `result()` does, and returns the error instead of raising it."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from millhand import ThreadPool

Item = TypeVar("Item")
Result = TypeVar("Result")


def sort_outcomes(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> tuple[dict[Item, Result], dict[Item, BaseException]]:
    """Return the results of the good calls and the exceptions of the bad ones, by item."""
    results, errors = {}, {}
    with ThreadPool(4) as pool:
        for item, future in [(item, pool.submit(work, item)) for item in items]:
            if error := future.exception():
                errors[item] = error
            else:
                results[item] = future.result()
    return results, errors
