"""How late do timeouts strike: while workers wait, and beside ten threads of pure Python?

Each call runs over a timeout of 50 ms; its lateness is how long after that its future fails.
"""

from __future__ import annotations

import argparse
import threading
import time
from statistics import median

from report import header

from millhand import ThreadPool

TIMEOUT = 0.05


def lateness(rounds: int, busy: int) -> list[float]:
    over = threading.Event()
    late = []

    def compute() -> None:
        while not over.is_set():
            sum(range(1_000))

    with ThreadPool(max(1, busy)) as beside, ThreadPool(2) as pool:
        for _ in range(busy):
            beside.submit(compute)
        for _ in range(rounds):
            gate = threading.Event()
            future = pool.with_options(timeout=TIMEOUT).submit(gate.wait)
            began = time.monotonic()
            future.exception()
            late.append((time.monotonic() - began - TIMEOUT) * 1_000)
            gate.set()
            while pool.stats().written_off:
                time.sleep(0.001)
        over.set()
    return late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    for name, busy, bar in (("workers that wait", 0, 10), ("beside 10 busy threads", 10, 500)):
        late = sorted(lateness(options.rounds, busy))
        print(f"{name:<28} median {median(late):7.1f} ms   max {late[-1]:7.1f} ms   (bar {bar} ms)")


if __name__ == "__main__":
    main()
