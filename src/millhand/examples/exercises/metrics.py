"""Say what a pool has done, in numbers that the pool itself has counted.

Write

    def run_and_report(work, items): ...

It calls `work(item)` for each item, on a pool that refuses no call, and returns a dict with "submitted", "done",
"failed" and "slowest": the duration, in seconds, of the longest call.
"""

from __future__ import annotations

import threading

from millhand.examples.checking import Solve, demonstrate, require

FUNCTION = "run_and_report"
PAUSE = 0.05


def check_counts(run_and_report: Solve) -> None:
    """The counts are right, and add up."""
    report = run_and_report(int, ["1", "two", "3", "four", "5"])
    counts = {name: report.get(name) for name in ("submitted", "done", "failed")}
    require(
        counts == {"submitted": 5, "done": 3, "failed": 2},
        f"3 good and 2 bad calls were counted as {counts}: look when all have ended",
    )


def check_slowest(run_and_report: Solve) -> None:
    """The longest call is known."""
    tick = threading.Event()
    report = run_and_report(tick.wait, [0.001, PAUSE, 0.001])
    slowest = report.get("slowest")
    require(
        isinstance(slowest, float) and PAUSE / 2 <= slowest <= 60,
        f"the longest call took {PAUSE} s at least, not {slowest!r} (pool.stats().slowest)",
    )


def check_nothing(run_and_report: Solve) -> None:
    """Nothing to do is no error."""
    report = run_and_report(int, [])
    require(report.get("submitted") == 0 == report.get("slowest"), f"of no calls came {report!r}, not zeros")


def main() -> None:
    """Show the task, and that the solution passes its checks."""
    demonstrate("metrics")


if __name__ == "__main__":
    main()
