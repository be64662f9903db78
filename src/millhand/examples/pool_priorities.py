"""Let some calls run first, and keep others to a time.

Prints:

    urgent, normal, idle
    slow was still running after 0.05 s; raise its timeout or make it shorter
    late had not ended 0.05 s after it was submitted; allow more, or submit less
"""

from __future__ import annotations

import threading

from millhand import ThreadPool, check_cancelled


def slow(tick: threading.Event) -> None:
    """Work until told to stop: a thread cannot be stopped from outside, so it looks now and then."""
    while not tick.wait(0.01):
        check_cancelled()


def late() -> None:
    """Never run: its time is over while it waits."""


def main() -> None:
    """Submit in the wrong order, then too much. One worker is held meanwhile."""
    done: list[str] = []
    start = threading.Event()
    with ThreadPool(1) as pool:
        pool.submit(start.wait)
        for name, priority in (("idle", -5), ("normal", 0), ("urgent", 5)):
            pool.with_options(priority=priority).submit(done.append, name)
        start.set()
    print(*done, sep=", ")

    with ThreadPool(1) as pool:
        print(pool.with_options(timeout=0.05).submit(slow, threading.Event()).exception())
        free = threading.Event()
        pool.submit(free.wait)
        print(pool.with_options(total_timeout=0.05).submit(late).exception())
        free.set()


if __name__ == "__main__":
    main()
