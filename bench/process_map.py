"""How long do processes take to map a no-op over 200,000 items, untuned, and a mix of short and long calls?

Interleaved in one run; the pools are made and warm before it. Ours streams: it reads as it goes, and the results are
taken one by one. multiprocessing.Pool.map reads all, cuts it in eight, and gives everything at the end.

The mix: one call in a thousand sleeps 50 ms, the others take a microsecond. Ideal is when all workers sleep all the
time that there is to sleep, and the short calls run as fast as in a map without the long ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from statistics import median
from typing import Any

import joblib
import mpire
from report import header, row

from millhand import ProcessPool

OURS = "millhand ProcessPool.map"


def noop(_: object) -> None:
    pass


def mixed(number: int) -> int:
    if number % 1_000 == 500:
        time.sleep(0.05)
    return number


def take_all(results: Iterable[Any]) -> None:
    for _ in results:
        pass


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    items, workers = range(options.items), options.workers
    with ExitStack() as stack:
        ours = stack.enter_context(ProcessPool(workers))
        stdlib = stack.enter_context(multiprocessing.Pool(workers))
        other = stack.enter_context(mpire.WorkerPool(n_jobs=workers, keep_alive=True))
        parallel = joblib.Parallel(n_jobs=workers)
        runs: dict[str, Callable[[], object]] = {
            OURS: lambda: take_all(ours.map(noop, items)),
            "multiprocessing.Pool.map": lambda: stdlib.map(noop, items),
            "mpire map_unordered": lambda: other.map_unordered(noop, items),
            "joblib": lambda: parallel(joblib.delayed(noop)(item) for item in items),
        }
        figures: dict[str, list[float]] = {name: [] for name in runs}
        slow = {"mpire map_unordered", "joblib"}
        for number in range(options.rounds + 1):
            for name, run in runs.items():
                if name not in slow or number < 4:
                    figure = options.items / seconds(run)
                    if number:  # the first is for warming up
                        figures[name].append(figure)
        for name, values in figures.items():
            row(name, values, "/s")
        for name, bar in (("multiprocessing.Pool.map", 0.7), ("mpire map_unordered", 8), ("joblib", 8)):
            print(f"{f'  ratio to {name}':<44} {median(figures[OURS]) / median(figures[name]):>12.2f} (bar {bar})")

        mix = range(20_000)
        sleeping = len(mix) / 1_000 * 0.05 / workers
        ways: dict[str, Callable[[Callable[[int], int]], object]] = {
            "mix, map": lambda fn: take_all(ours.map(fn, mix)),
            "mix, single submits": lambda fn: take_all([f.result() for f in [ours.submit(fn, n) for n in mix]]),
        }
        for name, way in ways.items():
            short, took = [], []
            for _ in range(options.rounds):
                short.append(seconds(lambda: way(int)))  # noqa: B023 - it is called at once
                took.append(seconds(lambda: way(mixed)))  # noqa: B023 - as above
            ideal = sleeping + median(short)
            row(name, [1e3 * value for value in took], "ms")
            print(f"{f'  share of the ideal, {1e3 * ideal:.0f} ms':<44} {median(took) / ideal:>12.2f} (bar 1.10)")


if __name__ == "__main__":
    main()
