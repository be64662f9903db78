"""Lose neither the results of the good calls nor the errors of the bad ones.

Write

    def sort_outcomes(work, items): ...

It calls `work(item)` for each item, on threads, and returns two dicts: results by item, and exceptions by item. A call
that raises stops no other one.
"""

from __future__ import annotations

from millhand.examples.checking import Solve, demonstrate, require

FUNCTION = "sort_outcomes"
ITEMS = ["1", "two", "3", "", "5"]


def check_results(sort_outcomes: Solve) -> None:
    """Every good call's result is there."""
    results, _ = sort_outcomes(int, ITEMS)
    require(results == {"1": 1, "3": 3, "5": 5}, f"the numbers in {ITEMS} came as {results!r}")


def check_errors(sort_outcomes: Solve) -> None:
    """Every bad call's exception is there, itself and not its text."""
    _, errors = sort_outcomes(int, ITEMS)
    require(errors.keys() == {"two", ""}, f"'two' and '' are no numbers; errors came for {list(errors)}")
    require(
        all(isinstance(error, ValueError) for error in errors.values()),
        f"the exceptions themselves were asked for, not {errors!r} (future.exception)",
    )


def check_all_bad(sort_outcomes: Solve) -> None:
    """It returns also if all calls raise."""
    results, errors = sort_outcomes(int, ["x", "y"])
    require((results, len(errors)) == ({}, 2), f"of two bad items came {results!r} and {errors!r}")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("error_handling")


if __name__ == "__main__":
    main()
