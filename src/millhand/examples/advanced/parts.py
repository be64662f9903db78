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

heard: deque[Event] = deque()  # a listener is called in many threads, and a worker waits for it
at_once: deque[int] = deque()
places = threading.Semaphore(2)


def report() -> None:
    """Note whether more than two of these run at once."""
    at_once.append(2 if places.acquire(blocking=False) else 3)
    time.sleep(0.001)
    places.release()


def main() -> None:
    """Run reports on two workers of a pool that has one to eight, and then three."""
    with ThreadPool((1, 8)) as pool, pool.subpool(2, queue_size=100) as reports:
        pool.listen(heard.append)
        reports.listen(heard.append)
        pool.resize(3)
        for _ in range(20):
            reports.submit(report)
        pool.submit(int)
    print(f"reports: {reports.stats().done} done, never more than {max(at_once)} at once")
    print(f"all the rest: {pool.stats().done} done")
    print("resized to", *(event.size for event in heard if isinstance(event, PoolResized)))
    started, ended = (sum(isinstance(event, kind) for event in heard) for kind in (TaskStarted, TaskEnded))
    print(f"heard: {started} calls started, {ended} ended")


if __name__ == "__main__":
    main()
