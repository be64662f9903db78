"""A deadline for the whole, and what was ready by then is kept: nobody waits for the slowest.

Five offers come at once, two sites hang, and so three more never get their turn.

Prints:

    by the deadline: 5 offers, the best is 100
    cancelled while they ran: 2, while they waited: 3
    the hanging ones stopped: True
    counted: 5 done, 5 cancelled, 0 still running
"""

from __future__ import annotations

import threading
from concurrent.futures import wait

from millhand import ThreadPool, check_cancelled

SITES = ["a", "b", "c", "d", "e", "hangs 1", "hangs 2", "x", "y", "z"]
DEADLINE = 0.5


def ask(site: str, stopped: threading.Semaphore) -> int:
    """Return an offer; or hang, but look now and then whether anybody still waits."""
    if not site.startswith("hangs"):
        return ord(site[0]) * 100 // ord("a")
    never = threading.Event()
    try:
        while not never.wait(0.01):
            check_cancelled()
    finally:
        stopped.release()
    return 0


def main() -> None:
    """Ask all of them, with two workers, and take what there is by the deadline."""
    stopped = threading.Semaphore(0)
    with ThreadPool(2) as pool:
        futures = [pool.submit(ask, site, stopped) for site in SITES]
        ready, _ = wait(futures, timeout=DEADLINE)
        offers = [future.result() for future in ready]
        print(f"by the deadline: {len(offers)} offers, the best is {min(offers)}")

        waited = sum(future.cancel() for future in futures)  # False for what has ended, or runs: that goes on
        ran = sum(future.cancel(running=True) for future in futures if not future.done())
        print(f"cancelled while they ran: {ran}, while they waited: {waited}")
        print("the hanging ones stopped:", all(stopped.acquire(timeout=10) for _ in range(ran)))
    stats = pool.stats()
    print(f"counted: {stats.done} done, {stats.cancelled} cancelled, {stats.running} still running")


if __name__ == "__main__":
    main()
