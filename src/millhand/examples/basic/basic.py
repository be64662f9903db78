"""A pool with three workers runs six calls: who ran what, and how long it took.

A pool is an executor: `submit` returns a future at once, `result()` waits for it. Leaving the `with` body waits for
all calls and ends the threads.

Prints:

    brew('tea') on mill_...: 'a cup of tea' after ... ms
    brew('coffee') on mill_...: 'a cup of coffee' after ... ms
    brew('cocoa') on mill_...: 'a cup of cocoa' after ... ms
    brew('milk') on mill_...: 'a cup of milk' after ... ms
    brew('mate') on mill_...: 'a cup of mate' after ... ms
    brew('cider') on mill_...: 'a cup of cider' after ... ms
    6 calls done, where one after the other takes 120 ms
"""

from __future__ import annotations

import threading
import time

from millhand import ThreadPool

DRINKS = ["tea", "coffee", "cocoa", "milk", "mate", "cider"]


def brew(drink: str) -> tuple[str, str]:
    """Take a moment, as work that waits for something does; say who did it."""
    time.sleep(0.02)
    return f"a cup of {drink}", threading.current_thread().name


def main() -> None:
    """Submit everything first, then ask for the results."""
    began = time.monotonic()
    with ThreadPool(3, thread_name_prefix="mill") as pool:
        futures = {drink: pool.submit(brew, drink) for drink in DRINKS}
        for drink, future in futures.items():
            cup, worker = future.result()
            print(f"brew({drink!r}) on {worker}: {cup!r} after {(time.monotonic() - began) * 1000:.0f} ms")
    print(f"{pool.stats().done} calls done, where one after the other takes 120 ms")


if __name__ == "__main__":
    main()
