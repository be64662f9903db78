"""Make a pool larger while it lives.

Write

    def run_in_two_sizes(work, first, second, small, large): ...

It calls `work(item)` for the items of `first`, at most `small` at once; when all of them have ended, for those of
`second`, `large` at once, on the same pool. It returns all results: first those of `first`, each in order.
"""

from __future__ import annotations

import threading

from millhand.examples.checking import Solve, demonstrate, meet, require

FUNCTION = "run_in_two_sizes"


def check_results(run_in_two_sizes: Solve) -> None:
    """The results stand in the order of their items."""
    found = run_in_two_sizes(lambda number: 10 * number, [3, 1], [4, 2], 1, 2)
    require(found == [30, 10, 40, 20], f"ten times [3, 1] and [4, 2] is [30, 10, 40, 20], not {found!r}")


def check_small(run_in_two_sizes: Solve) -> None:
    """The first items run on few workers, and all before the second ones."""
    seen: list[str] = []
    tick = threading.Event()

    def work(item: str) -> None:
        seen.append(f"{item} begins")
        tick.wait(0.002)
        seen.append(f"{item} ends")

    run_in_two_sizes(work, ["first"] * 20, ["second"], 1, 4)
    alone = ["first begins", "first ends"] * 20
    require(seen[:40] == alone, "with a small size of 1, a call began before the one before it had ended")


def check_large(run_in_two_sizes: Solve) -> None:
    """The second items run on many workers of the same pool."""
    threads: list[threading.Thread] = []

    def work(others: threading.Barrier) -> bool:
        threads.append(threading.current_thread())
        return meet(others)

    found = run_in_two_sizes(work, [threading.Barrier(1)], [threading.Barrier(4)] * 4, 1, 4)
    require(all(found), "with a large size of 4, 4 calls never met (pool.resize)")
    require(threads[0] in threads[1:], "the thread of `first` took no part in `second`: is it another pool?")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("dynamic")


if __name__ == "__main__":
    main()
