"""Which part of the machine is left for calls that compute for about 10 ms?

The limit is measured in the same run: as many plain processes as there are workers, each computing its share of the
calls, with nothing between them and the machine; from when all are ready to when the last one ends.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from statistics import median
from typing import Any

from report import header, row

from millhand import ProcessPool


def compute(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += number * number
    return total


def share(steps: int, calls: int, barrier: Any) -> None:
    compute(steps)
    barrier.wait()
    for _ in range(calls):
        compute(steps)


def plain(steps: int, calls: int, workers: int) -> float:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(workers + 1)
    processes = [context.Process(target=share, args=(steps, calls // workers, barrier)) for _ in range(workers)]
    for process in processes:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    return calls / (time.perf_counter() - began)


def pooled(pool: ProcessPool, steps: int, calls: int) -> float:
    began = time.perf_counter()
    for future in [pool.submit(compute, steps) for _ in range(calls)]:
        future.result()
    return calls / (time.perf_counter() - began)


def mapped(pool: ProcessPool, steps: int, calls: int) -> float:
    began = time.perf_counter()
    for _ in pool.map(compute, [steps] * calls):
        pass
    return calls / (time.perf_counter() - began)


def sequential(steps: int, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        compute(steps)
    return calls / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    began = time.perf_counter()
    compute(100_000)
    steps = int(100_000 * 0.010 / (time.perf_counter() - began))
    figures: dict[str, list[float]] = {name: [] for name in ("plain processes", "submit", "map", "sequential")}
    with ProcessPool(options.workers) as pool:
        for _ in pool.map(compute, [1_000] * 100):
            pass
        for _ in range(options.rounds):
            figures["plain processes"].append(plain(steps, options.calls, options.workers))
            figures["submit"].append(pooled(pool, steps, options.calls))
            figures["map"].append(mapped(pool, steps, options.calls))
            figures["sequential"].append(sequential(steps, options.calls))
    for name, values in figures.items():
        row(name, values, "/s")
    limit = median(figures["plain processes"])
    for name in ("submit", "map"):
        print(f"{f'  {name}: share of the limit':<44} {median(figures[name]) / limit:>12.3f} (bar 0.95)")
    print(
        f"{'  submit: speed-up over sequential':<44} {median(figures['submit']) / median(figures['sequential']):>12.2f}"
    )


if __name__ == "__main__":
    main()
