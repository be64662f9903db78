"""How many no-op calls per second does a pool of threads take, run and answer, beside the standard library's?

Interleaved in one run, one pool per round. Calls: submit all, then take all results. Round trip: submit one, wait
for its result, again. Map: through `map`, to the last result.

defaults: bounded queue, contextvars carried, counters and histograms on.
best: unbounded (queue_size=None) and without contextvars (copy_context=False).
used: each call with a priority and a timeout.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from statistics import median

from report import header, row

from millhand import ThreadPool

STDLIB = "stdlib ThreadPoolExecutor"


def noop(_: object = None) -> None:
    pass


def calls_per_second(pool: Executor, n: int) -> float:
    submit = pool.submit
    began = time.perf_counter()
    futures = [submit(noop) for _ in range(n)]
    for future in futures:
        future.result()
    return n / (time.perf_counter() - began)


def calls_with_priority_and_timeout(pool: ThreadPool, n: int) -> float:
    return calls_per_second(pool.with_options(priority=1, timeout=60), n)


def round_trips_per_second(pool: Executor, n: int) -> float:
    n //= 20
    pool.submit(noop).result()
    began = time.perf_counter()
    for _ in range(n):
        pool.submit(noop).result()
    return n / (time.perf_counter() - began)


def mapped_per_second(pool: Executor, n: int) -> float:
    began = time.perf_counter()
    for _ in pool.map(noop, range(n)):
        pass
    return n / (time.perf_counter() - began)


def compare(
    title: str,
    bar: float,
    ours: tuple[Callable[[], AbstractContextManager[ThreadPool]], Callable[[ThreadPool, int], float]],
    theirs: tuple[Callable[[], AbstractContextManager[Executor]], Callable[[Executor, int], float]],
    options: argparse.Namespace,
) -> None:
    figures: dict[str, list[float]] = {title: [], STDLIB: []}
    for _ in range(options.rounds):
        for name, (make, measure) in ((title, ours), (STDLIB, theirs)):
            gc.collect()
            with make() as pool:
                figures[name].append(measure(pool, options.calls))  # type: ignore[arg-type]  # each with its own kind
    row(title, figures[title], "/s")
    row(f"  {STDLIB}", figures[STDLIB], "/s")
    print(f"{'  ratio':<44} {median(figures[title]) / median(figures[STDLIB]):>12.1f} (bar {bar:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000, help="calls per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 10])
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    for workers in options.workers:

        def best(n: int = workers) -> ThreadPool:
            return ThreadPool(n, queue_size=None, copy_context=False)

        def ours(n: int = workers) -> ThreadPool:
            return ThreadPool(n)

        def theirs(n: int = workers) -> Executor:
            return ThreadPoolExecutor(n)

        print(f"\n{workers} workers")
        calls = (theirs, calls_per_second)
        compare("calls, best (unbounded, no contextvars)", 7, (best, calls_per_second), calls, options)
        compare("calls, defaults", 4, (ours, calls_per_second), calls, options)
        compare("calls, used (priority=1, timeout=60)", 2.5, (ours, calls_with_priority_and_timeout), calls, options)
        trips = (theirs, round_trips_per_second)
        compare("round trips, defaults", 1.3, (ours, round_trips_per_second), trips, options)
        compare("map, defaults", 10, (ours, mapped_per_second), (theirs, mapped_per_second), options)


if __name__ == "__main__":
    main()
