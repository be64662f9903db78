"""The doors for asyncio: functions on threads, coroutines on the running loop, both bounded.

`run` and `amap` never block the loop: where the queue is full, they wait in it as any task does.

Prints:

    threads: 42
    mapped: [1, 2, 3, 4, 5]
    coroutines: [0, 10, 20, 30], at most 2 at once
"""

from __future__ import annotations

import asyncio

from millhand import CoroutinePool, ThreadPool

at_once: list[int] = [0]
running = 0


def blocking(number: int) -> int:
    """Stand for anything that would block a loop."""
    return number + 1


async def fetch(number: int) -> int:
    """Stand for anything that awaits."""
    global running  # noqa: PLW0603 - one thread, one loop: what this counts is who is in here
    running += 1
    at_once.append(running)
    await asyncio.sleep(0.001)
    running -= 1
    return number * 10


async def use_both() -> None:
    """Use both kinds of pool from one loop."""
    with ThreadPool(4) as pool:
        print("threads:", await pool.run(blocking, 41))
        print("mapped:", [value async for value in pool.amap(blocking, range(5))])
    async with CoroutinePool(2) as coroutines:
        fetched = [value async for value in coroutines.amap(fetch, range(4))]
        print(f"coroutines: {fetched}, at most {max(at_once)} at once")


def main() -> None:
    """Run a loop."""
    asyncio.run(use_both())


if __name__ == "__main__":
    main()
