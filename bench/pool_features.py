"""What does a call cost more in a pool that has, or had, a feature which the call does not use?

Interleaved in one run, a pool of its own for each round and feature; no-op calls, submit all, then take all results.
"plain" stands there twice: how far the two are apart is what the machine's noise is.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from concurrent.futures import Executor
from statistics import median

from report import header, row

from millhand import ThreadPool


def noop() -> None:
    pass


def seconds_per_call(executor: Executor, calls: int) -> float:
    submit = executor.submit
    began = time.perf_counter()
    for future in [submit(noop) for _ in range(calls)]:
        future.result()
    return (time.perf_counter() - began) / calls


def plain(pool: ThreadPool) -> Executor:
    return pool


def view(pool: ThreadPool) -> Executor:
    return pool.with_options()


def timeouts(pool: ThreadPool) -> Executor:
    pool.with_options(timeout=60).submit(noop).result()
    return pool


def listener(pool: ThreadPool) -> Executor:
    stop = pool.listen(lambda _: None)
    pool.submit(noop).result()
    stop()
    pool.resize(3)
    pool.resize(2)
    return pool


def subpool(pool: ThreadPool) -> Executor:
    pool.subpool(1).submit(noop).result()
    return pool


def group(pool: ThreadPool) -> Executor:
    with pool.group() as calls:
        calls.submit(noop)
    return pool


def mapped(pool: ThreadPool) -> Executor:
    list(pool.map(abs, range(1_000)))
    return pool


def paused(pool: ThreadPool) -> Executor:
    pool.pause()
    pool.resume()
    return pool


FEATURES: dict[str, Callable[[ThreadPool], Executor]] = {
    "plain": plain,
    "plain, again": plain,
    "a view without options": view,
    "a call with a timeout before": timeouts,
    "a listener that has left": listener,
    "a sub-pool beside": subpool,
    "a group before": group,
    "a map before": mapped,
    "a pause before": paused,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000, help="calls per round")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    figures: dict[str, list[float]] = {name: [] for name in FEATURES}
    for _ in range(options.rounds):
        for name, use in FEATURES.items():
            gc.collect()
            with ThreadPool(2) as pool:
                executor = use(pool)
                figures[name].append(1e9 * seconds_per_call(executor, options.calls))
    base = median(figures["plain"])
    for name, values in figures.items():
        row(name, values, "ns")
        print(f"{'  ratio to plain':<44} {median(values) / base:>12.2f}")


if __name__ == "__main__":
    main()
