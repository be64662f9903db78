"""Run what is urgent first.

Write

    def run_urgent_first(work, tickets): ...

`tickets` is a list of pairs (urgency, name). It calls `work(name)` for each, one at a time on another thread, the
highest urgency first; of equal ones, the first in the list.
"""

from __future__ import annotations

import threading

from millhand.examples.checking import Solve, demonstrate, require

FUNCTION = "run_urgent_first"


def check_order(run_urgent_first: Solve) -> None:
    """The highest urgency runs first."""
    ran: list[str] = []
    run_urgent_first(ran.append, [(0, "mail"), (5, "alarm"), (-3, "backup"), (9, "fire")])
    require(
        ran == ["fire", "alarm", "mail", "backup"],
        f"fire (9), alarm (5), mail (0), backup (-3) ran as {ran}: hold the worker until all are submitted",
    )


def check_equals(run_urgent_first: Solve) -> None:
    """Equals run in the order of the list."""
    ran: list[str] = []
    run_urgent_first(ran.append, [(1, f"ticket {number}") for number in range(20)])
    require(ran == [f"ticket {number}" for number in range(20)], f"20 equal tickets ran as {ran}")


def check_thread(run_urgent_first: Solve) -> None:
    """The work is done on one other thread."""
    threads: set[int] = set()
    run_urgent_first(lambda _: threads.add(threading.get_ident()), [(0, "one"), (1, "two"), (2, "three")])
    require(threading.get_ident() not in threads, "it ran in the thread that called: submit it to a pool")
    require(len(threads) == 1, f"it ran on {len(threads)} threads, so nothing says which comes first: ThreadPool(1)")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("priority")


if __name__ == "__main__":
    main()
