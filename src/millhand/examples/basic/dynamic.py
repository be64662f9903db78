"""A pool that is resized while it works: growth holds at once, shrinking interrupts nobody.

How many run at once is seen from inside: each call waits until as many have come as there are workers.

Prints:

    2 workers: 2 calls met
    6 workers: 6 calls met
    1 worker: alone in there: True
    heard of sizes 6, 1
"""

from __future__ import annotations

import threading
import time

from millhand import ThreadPool
from millhand.core.events import Event, PoolResized


def meet(others: threading.Barrier) -> int:
    """Return when as many calls are in here as the barrier wants: only if so many workers are at it."""
    others.wait(timeout=10)
    return others.parties


def is_alone(room: threading.Lock) -> bool:
    """Take a moment; tell whether nobody else was in here when this began."""
    if not room.acquire(blocking=False):
        return False
    time.sleep(0.001)
    room.release()
    return True


def main() -> None:
    """Make the pool larger, then small."""
    sizes: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, PoolResized):
            sizes.append(event.size)

    with ThreadPool(2) as pool:
        pool.listen(note)
        print("2 workers:", len(list(pool.map(meet, [threading.Barrier(2)] * 2))), "calls met")
        pool.resize(6)
        print("6 workers:", len(list(pool.map(meet, [threading.Barrier(6)] * 6))), "calls met")
        pool.resize(1)
        print("1 worker: alone in there:", all(pool.map(is_alone, [threading.Lock()] * 10)))
    print("heard of sizes", ", ".join(map(str, sizes)))


if __name__ == "__main__":
    main()
