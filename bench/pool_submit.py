"""How many no-op calls per second does a pool of 10 threads take, run and answer, beside the standard library's?

Default settings on both sides: bounded queue, contextvars copied, counters on. Interleaved, one pool per round.
Calls: submit all, then take all results. Round trip: submit one, wait for its result, again.
"""

from __future__ import annotations

import argparse
import gc
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from statistics import median

from report import header, row

from millhand import ThreadPool

WORKERS = 10
POOLS: dict[str, type[Executor]] = {"millhand ThreadPool": ThreadPool, "stdlib ThreadPoolExecutor": ThreadPoolExecutor}


def noop() -> None:
    pass


def calls_per_second(pool_type: type[Executor], n: int) -> float:
    with pool_type(WORKERS) as pool:  # type: ignore[call-arg]  # Executor itself has no constructor
        gc.collect()
        began = time.perf_counter()
        futures = [pool.submit(noop) for _ in range(n)]
        for future in futures:
            future.result()
        return n / (time.perf_counter() - began)


def microseconds_per_round_trip(pool_type: type[Executor], n: int) -> float:
    with pool_type(WORKERS) as pool:  # type: ignore[call-arg]  # Executor itself has no constructor
        pool.submit(noop).result()
        began = time.perf_counter()
        for _ in range(n):
            pool.submit(noop).result()
        return (time.perf_counter() - began) / n * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000, help="calls per round")
    parser.add_argument("--round-trips", type=int, default=5_000, help="round trips per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    for measure, n, unit in (
        (calls_per_second, options.calls, "calls/s"),
        (microseconds_per_round_trip, options.round_trips, "us/trip"),
    ):
        rounds = [{name: measure(pool_type, n) for name, pool_type in POOLS.items()} for _ in range(options.rounds)]
        for name in POOLS:
            row(name, [values[name] for values in rounds], unit)
        ours, theirs = (median(values[name] for values in rounds) for name in POOLS)
        ratio = ours / theirs if unit == "calls/s" else theirs / ours
        print(f"{'times as good as the standard library':<44} {ratio:>12.1f}")


if __name__ == "__main__":
    main()
