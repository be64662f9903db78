"""Run a function on many items, on threads.

Write

    def run_all(work, items, workers): ...

It calls `work(item)` for each item, on a pool of so many threads, and returns the list of results in the order of the
items. When it returns, it has left no thread behind.
"""

from __future__ import annotations

import threading

from millhand.examples.checking import Solve, demonstrate, meet, require

FUNCTION = "run_all"


def check_results(run_all: Solve) -> None:
    """The results stand in the order of their items."""
    found = run_all(lambda number: number * number, [3, 1, 2], 2)
    require(found == [9, 1, 4], f"the squares of [3, 1, 2] are [9, 1, 4], not {found!r}")


def check_together(run_all: Solve) -> None:
    """As many calls run at once as there are workers."""
    others = threading.Barrier(4)
    met = all(run_all(meet, [others] * 4, 4))
    require(met, "with 4 workers, 4 calls never met: submit all before you ask for results")


def check_bound(run_all: Solve) -> None:
    """No more calls run at once than there are workers."""
    places, tick = threading.Semaphore(2), threading.Event()

    def enter(_: int) -> bool:
        if is_free := places.acquire(blocking=False):
            tick.wait(0.002)
            places.release()
        return is_free

    require(all(run_all(enter, range(30), 2)), "with 2 workers, more than 2 calls ran at once")


def check_end(run_all: Solve) -> None:
    """No thread is left behind."""
    before = set(threading.enumerate())
    run_all(abs, [1, 2, 3], 2)
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    require(not left, f"still there: {', '.join(left)}; a `with` body ends them")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("basic")


if __name__ == "__main__":
    main()
