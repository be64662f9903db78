"""Five ways to get at results: one future, all in order, as they come, awaited in asyncio, and by a callback.

"slow" cannot end before "quick" was taken: so much for "as they come".

Prints:

    one: 1024
    in order: [1, 4, 9, 16]
    as they come: quick
    as they come: slow
    as they come, by map: quick
    as they come, by map: slow
    awaited: 1024
    by a callback: 1024
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import as_completed
from functools import partial

from millhand import ThreadPool


def wait_for(taken: threading.Event, name: str) -> str:
    """Return at once if called "quick"; if not, when the result of that was taken."""
    if name != "quick":
        taken.wait()
    return name


async def compute(pool: ThreadPool) -> int:
    """Wait for a call without blocking the loop."""
    return await pool.run(pow, 2, 10)


def main() -> None:
    """Take results in each of these ways."""
    with ThreadPool(2) as pool:
        print("one:", pool.submit(pow, 2, 10).result())
        print("in order:", list(pool.map(pow, [1, 2, 3, 4], [2, 2, 2, 2])))

        taken = threading.Event()
        for future in as_completed([pool.submit(wait_for, taken, name) for name in ("slow", "quick")]):
            print("as they come:", future.result())
            taken.set()

        taken = threading.Event()
        for name in pool.map(partial(wait_for, taken), ["slow", "quick"], ordered=False):
            print("as they come, by map:", name)
            taken.set()

        print("awaited:", asyncio.run(compute(pool)))
        pool.submit(pow, 2, 10).add_done_callback(lambda future: print("by a callback:", future.result()))


if __name__ == "__main__":
    main()
