"""Does an elastic pool find the size that is best for its load?

ThreadPool((1, 32)) beside fixed sizes, on calls that wait (20 ms, at most eight at once get an answer in that time),
calls that compute (about 2 ms of pure Python), and a load that steps from the one to the other. Counted are calls per
second from 5 s after the start, and after the step. The elastic pool runs three times, between the fixed ones: its
median counts, beside the best of all the others.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from statistics import median

from report import header

from millhand import ThreadPool

LOW, HIGH = 1, 32
FIXED = (1, 2, 4, 8, 12, 16, 24, 32)
SETTLED = 5.0

answers = threading.Semaphore(8)


def compute() -> None:
    sum(i * i for i in range(30_000))


def ask() -> None:
    """Wait for somebody who answers eight at once."""
    with answers:
        time.sleep(0.02)


class Flood:
    """This keeps a pool full for some seconds, and counts what it does."""

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool

    def ended(self) -> int:
        """Return how many calls have ended so far."""
        return self.pool.stats().done

    def run(self, call: Callable[[], None], seconds: float) -> float:
        """Return calls per second, from the time by which it must have settled."""
        began = time.monotonic()
        settled, at = None, began
        while (now := time.monotonic()) < began + seconds:
            while self.pool.stats().waiting < 100:
                self.pool.submit(call)
            if settled is None and now > began + SETTLED:
                settled, at = self.ended(), now
            time.sleep(0.01)
        return (self.ended() - (settled or 0)) / (time.monotonic() - at)


def rates(workers: int | tuple[int, int], seconds: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, calls in (("waiting", [ask]), ("computing", [compute]), ("step", [ask, compute])):
        pool = ThreadPool(workers)
        flood = Flood(pool)
        for call in calls:
            figures[f"{name}: {call.__name__}"] = flood.run(call, seconds)
        pool.shutdown(cancel_futures=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each load")
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    elastic: list[dict[str, float]] = []
    fixed: dict[int, dict[str, float]] = {}
    for number, size in enumerate(FIXED):
        if number % 3 == 0:
            elastic.append(rates((LOW, HIGH), options.seconds))
        fixed[size] = rates(size, SETTLED + 3)
    for load in elastic[0]:
        values = [figures[load] for figures in elastic]
        rate, best = median(values), max(FIXED, key=lambda size: fixed[size][load])
        print(f"{load:<24} elastic {rate:8.1f}/s   ({' '.join(f'{value:.1f}' for value in values)})")
        print(
            f"{'':<24} best fixed size {best:>2}: {fixed[best][load]:8.1f}/s   "
            f"share {rate / fixed[best][load]:5.2f} (bar 0.90)"
        )


if __name__ == "__main__":
    main()
