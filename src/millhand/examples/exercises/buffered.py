"""Let a source that is faster than the work wait, so that memory stays bounded.

Write

    def feed(work, source, workers, waiting): ...

It calls `work(item)` for each item of an iterator that may be endless, on a pool of so many threads. At no time have
more than `waiting` items been read that no worker has begun. It returns how many calls were made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from millhand.examples.checking import Solve, demonstrate, require

FUNCTION = "feed"
TOTAL = 200


def check_all(feed: Solve) -> None:
    """Every item is worked on, once."""
    done: list[int] = []
    count = feed(done.append, iter(range(50)), 3, 5)
    require(sorted(done) == list(range(50)), f"of 50 items, {len(set(done))} were worked on, in {len(done)} calls")
    require(count == 50, f"it was to return 50, the number of calls, not {count!r}")


def check_bound(feed: Solve) -> None:
    """The source is read no further than there is room."""
    ended: list[int] = []
    far: list[int] = []
    tick = threading.Event()

    def source() -> Iterator[int]:
        for number in range(TOTAL):
            far.append(number - len(ended))  # what was read before and has not ended: it runs, or waits
            yield number

    def work(number: int) -> None:
        tick.wait(0.001)
        ended.append(number)

    feed(work, source(), 2, 10)
    most = max(far)
    require(
        most <= 2 + 10 + 1, f"2 workers, 10 may wait, but {most} items were under way: bound the queue (queue_size)"
    )


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("buffered")


if __name__ == "__main__":
    main()
