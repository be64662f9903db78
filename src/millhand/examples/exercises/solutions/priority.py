"""A paused pool lets calls wait, so that their priorities decide."""

from collections.abc import Callable, Iterable

from millhand import ThreadPool


def run_urgent_first(work: Callable[[str], object], tickets: Iterable[tuple[int, str]]) -> None:
    """Call `work` for each name, the highest urgency first."""
    with ThreadPool(1) as pool:
        pool.pause()
        for urgency, name in tickets:
            pool.with_options(priority=urgency).submit(work, name)
        pool.resume()
