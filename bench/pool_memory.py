"""How much memory does a waiting call take, and does `map` stay flat over ten million items?

Each figure comes from a process of its own: the growth of its resident set while calls are submitted to a pool whose
only worker is busy; and the peak of a process that maps over an endless source.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from statistics import median

from report import header, row

from millhand import ThreadPool

POOLS = {"millhand": lambda: ThreadPool(1, queue_size=None), "stdlib": lambda: ThreadPoolExecutor(1)}


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def bytes_per_waiting_call(pool: Executor, n: int) -> float:
    gate = threading.Event()
    pool.submit(gate.wait)
    before = resident()
    futures = [pool.submit(int) for _ in range(n)]
    grown = resident() - before - sys.getsizeof(futures)
    gate.set()
    pool.shutdown(cancel_futures=True)
    return grown / n


def peak_of_a_long_map(n: int) -> float:
    with ThreadPool(4) as pool:
        results = pool.map(abs, count())
        for _ in islice(results, 200_000):
            pass
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in islice(results, n):
            pass
        results.close()  # type: ignore[attr-defined]  # it is a generator
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def ask(*arguments: str) -> float:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=1_000_000, help="calls that wait")
    parser.add_argument("--items", type=int, default=10_000_000, help="items of the map")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=[*POOLS, "map"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure == "map":
        print(peak_of_a_long_map(options.items))
    elif options.measure:
        print(bytes_per_waiting_call(POOLS[options.measure](), options.waiting))
    else:
        header((__doc__ or "").splitlines()[0])
        figures: dict[str, list[float]] = {name: [] for name in POOLS}
        for _ in range(options.rounds):
            for name in POOLS:
                figures[name].append(ask("--measure", name, "--waiting", str(options.waiting)))
        for name in POOLS:
            row(f"{name}, {options.waiting:,} waiting", figures[name], "bytes")
        ratio = median(figures["millhand"]) / median(figures["stdlib"])
        print(f"{'share of the standard library':<44} {ratio:>12.2f} (bar 0.5)")
        grown = ask("--measure", "map", "--items", str(options.items))
        print(f"{f'map over {options.items:,} items, growth':<44} {grown:>12.1f} MiB")


if __name__ == "__main__":
    main()
