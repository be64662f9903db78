"""One pool for a whole program: a sub-pool for one kind of work, a size that follows the load, and listeners.

Prints:

    reports: 20 done, never more than 2 at once
    all the rest: 1 done
    resized to 3
    heard: 21 calls started, 21 ended
"""

from __future__ import annotations

import threading
import time
from collections import deque

from millhand import ThreadPool
from millhand.core.events import Event, PoolResized, TaskEnded, TaskStarted


def report(places: threading.Semaphore) -> int:
    """Take one of two places, if there is one; return how many of these may run at once, for all that this one saw."""
    if not places.acquire(blocking=False):
        return 3
    time.sleep(0.001)
    places.release()
    return 2


def main() -> None:
    """Run reports on two workers of a pool that has one to eight, and then three."""
    heard: deque[Event] = deque()  # a listener is called in many threads, and a worker waits for it
    places = threading.Semaphore(2)
    with ThreadPool((1, 8)) as pool, pool.subpool(2, queue_size=100) as reports:
        pool.listen(heard.append)
        reports.listen(heard.append)
        pool.resize(3)
        futures = [reports.submit(report, places) for _ in range(20)]
        pool.submit(int)
    print(f"reports: {reports.stats().done} done, never more than {max(future.result() for future in futures)} at once")
    print(f"all the rest: {pool.stats().done} done")
    print("resized to", *(event.size for event in heard if isinstance(event, PoolResized)))
    started, ended = (sum(isinstance(event, kind) for event in heard) for kind in (TaskStarted, TaskEnded))
    print(f"heard: {started} calls started, {ended} ended")


if __name__ == "__main__":
    main()
