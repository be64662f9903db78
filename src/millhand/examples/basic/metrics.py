"""What a pool tells of itself: counts that add up, how long calls wait and run, who does what, and events.

Prints:

    submitted  done  failed  cancelled  timed out  waiting  running
           12    10       2          0          0        0        0
    adds up: True
    half of the calls ran for less than ... ms, 9 of 10 for less than ... ms
    the longest: ...
    started: meter_0 ...
    heard: 10 returned, 2 raised
"""

from __future__ import annotations

import time
from collections import Counter, deque

from millhand import ThreadPool
from millhand.core.events import Event, TaskEnded
from millhand.examples.table import print_table


def work(number: int) -> float:
    """Take longer for larger numbers; fail for two of them."""
    time.sleep(number / 1000)
    return 1 / (number % 6)


def main() -> None:
    """Run twelve calls, then look."""
    heard: deque[Event] = deque()  # listeners are called in the threads of the workers
    with ThreadPool(2, thread_name_prefix="meter") as pool:
        pool.listen(heard.append)
        for number in range(12):
            pool.submit(work, number)
        while (stats := pool.stats()).waiting or stats.running:  # a look costs little, also while the pool works
            time.sleep(0.005)
        stats = pool.stats()

    counts = (stats.done, stats.failed, stats.cancelled, stats.timed_out, stats.waiting, stats.running)
    columns = ["submitted", "done", "failed", "cancelled", "timed out", "waiting", "running"]
    print_table(columns, [[stats.submitted, *counts]])
    print("adds up:", stats.submitted == sum(counts) + stats.dropped + stats.refused)
    half, most = stats.run_time.quantile(0.5), stats.run_time.quantile(0.9)
    print(f"half of the calls ran for less than {half * 1000:.0f} ms, 9 of 10 for less than {most * 1000:.0f} ms")
    print(f"the longest: {stats.slowest[0].name}, {stats.slowest[0].run * 1000:.0f} ms")
    print("started:", ", ".join(f"{worker.name} {worker.started} calls" for worker in stats.table))
    outcomes = Counter(event.outcome for event in heard if isinstance(event, TaskEnded))
    print(f"heard: {outcomes['returned']} returned, {outcomes['raised']} raised")


if __name__ == "__main__":
    main()
