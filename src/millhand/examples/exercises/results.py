"""Hand results on as they come, not in the order of the items.

Write

    def as_they_come(work, items): ...

It is a generator. It calls `work(item)` for each item, on threads, and yields pairs (item, result), each as soon as
its call has ended. There are no more than ten items.
"""

from __future__ import annotations

import threading

from millhand.examples.checking import PATIENCE, Solve, demonstrate, require

FUNCTION = "as_they_come"


def check_pairs(as_they_come: Solve) -> None:
    """Each item comes with its own result."""
    found = dict(as_they_come(len, ["a", "bb", "ccc"]))
    require(found == {"a": 1, "bb": 2, "ccc": 3}, f"the lengths of a, bb and ccc came as {found!r}")


def check_order(as_they_come: Solve) -> None:
    """What ends first comes first."""
    taken = threading.Event()

    def work(item: str) -> bool:
        return item == "quick" or taken.wait(PATIENCE)

    found = {}
    for item, in_time in as_they_come(work, ["slow", "quick"]):
        found[item] = in_time
        taken.set()
    require(found.keys() == {"slow", "quick"}, f"of slow and quick came {', '.join(found) or 'none'}")
    require(found["slow"], "the quick one's result came only when the slow one had ended (as_completed)")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("results")


if __name__ == "__main__":
    main()
