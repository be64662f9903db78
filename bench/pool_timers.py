"""How late do timeouts strike: while workers wait, and beside ten threads of pure Python?

Each call runs over a timeout of 50 ms; its lateness is how long after that its future fails (a callback notes it),
and how long after that the thread that waits for it goes on, which waits for its own turn among the busy ones.
"""

from __future__ import annotations

import argparse
import threading
import time
from statistics import median

from report import header

from millhand import ThreadPool

TIMEOUT = 0.05


def lateness(rounds: int, busy: int) -> list[tuple[float, float]]:
    over = threading.Event()
    late = []

    def compute() -> None:
        while not over.is_set():
            sum(range(1_000))

    with ThreadPool(max(1, busy)) as beside, ThreadPool(2) as pool:
        for _ in range(busy):
            beside.submit(compute)
        for _ in range(rounds):
            began, gate, struck = list[float](), threading.Event(), list[float]()
            future = pool.with_options(timeout=TIMEOUT).submit(lambda: (began.append(time.monotonic()), gate.wait()))  # noqa: B023 - it is over before the next
            future.add_done_callback(lambda _: struck.append(time.monotonic()))  # noqa: B023 - as above
            future.exception()
            seen = time.monotonic()
            gate.set()
            while not struck or pool.stats().written_off:
                time.sleep(0.001)
            late.append((1_000 * (struck[0] - began[0] - TIMEOUT), 1_000 * (seen - began[0] - TIMEOUT)))
        over.set()
    return late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    for name, busy, bar in (("workers that wait", 0, 10), ("beside 10 busy threads", 10, 500)):
        struck, seen = zip(*lateness(options.rounds, busy), strict=True)
        print(f"{name:<28} median {median(struck):7.1f} ms   max {max(struck):7.1f} ms   (bar {bar} ms)")
        print(f"{'  seen by who waits':<28} median {median(seen):7.1f} ms   max {max(seen):7.1f} ms")


if __name__ == "__main__":
    main()
