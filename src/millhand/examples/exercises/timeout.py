"""Give up on calls that take too long, and stop them.

Write

    def run_within(work, items, seconds): ...

It calls `work(item)` for each item, on threads, and returns the list of results in the order of the items, with None in
the place of a call that ran for longer than `seconds`. Such a call is asked to stop: `check_cancelled()` raises in it.
There are no more than ten items.
"""

from __future__ import annotations

import threading

from millhand import check_cancelled
from millhand.examples.checking import PATIENCE, Solve, demonstrate, require

FUNCTION = "run_within"


def check_quick(run_within: Solve) -> None:
    """Quick calls give their results."""
    found = run_within(abs, [-1, 2, -3], 5.0)
    require(found == [1, 2, 3], f"abs of [-1, 2, -3] came as {found!r}")


def check_slow(run_within: Solve) -> None:
    """A slow call gives None, and is asked to stop."""
    stopped = threading.Event()

    def work(item: str) -> str:
        tick = threading.Event()
        for _ in range(int(100 * PATIENCE) if item == "slow" else 0):
            tick.wait(0.01)
            try:
                check_cancelled()
            except BaseException:
                stopped.set()
                raise
        return item

    found = run_within(work, ["quick", "slow"], 1.0)
    require(found == ["quick", None], f"of a quick and a slow call came {found!r}")
    require(stopped.wait(PATIENCE), "the slow call was never asked to stop: with_options(timeout=...)")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("timeout")


if __name__ == "__main__":
    main()
