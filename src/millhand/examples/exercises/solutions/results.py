"""`as_completed` of the standard library works on these futures; `map(..., ordered=False)` would do, too."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from typing import TypeVar

from millhand import ThreadPool

Item = TypeVar("Item")
Result = TypeVar("Result")


def as_they_come(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Yield each item with its result, as calls end."""
    with ThreadPool(10) as pool:
        futures: dict[Future[Result], Item] = {pool.submit(work, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
