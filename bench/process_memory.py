"""How many copies of a 100 MB array do eight calls cost, when it is shared, and when it is an argument of each?

Memory is the proportional set size of the program and its processes together (each page is counted once, however many
have it mapped), at the end of eight calls that have read all of the array, less what it was before; in units of the
array, which the program has itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from report import header, row

from millhand import ProcessPool

MIB = 100


def total(array: Any, _: int) -> float:
    return float(array.sum())


def where(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def proportional(pids: set[int]) -> int:
    """Return how much memory these processes have, in bytes."""
    size = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        size += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return size


def measure(calls: Callable[[ProcessPool, Any], list[float]]) -> tuple[float, float]:
    """Return the copies, and the seconds."""
    array = np.ones(MIB << 17)
    with ProcessPool(2) as pool:
        pids = {os.getpid(), *pool.map(where, range(20))}
        pool.submit(total, np.ones(1 << 16), 0).result()  # it has imported NumPy, and mapped something
        before = proportional(pids)
        began = time.perf_counter()
        calls(pool, array)
        took = time.perf_counter() - began
        return (proportional(pids) - before) / array.nbytes, took


def shared(pool: ProcessPool, array: Any) -> list[float]:
    handle = pool.share(array)
    return [future.result() for future in [pool.submit(total, handle, n) for n in range(8)]]


def each(pool: ProcessPool, array: Any) -> list[float]:
    return [future.result() for future in [pool.submit(total, array, n) for n in range(8)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    print(f"start method: {multiprocessing.get_all_start_methods()}, ours the default")
    for name, calls in (("shared", shared), ("argument of each call", each)):
        figures = [measure(calls) for _ in range(options.rounds)]
        row(f"{name}: time", [1e3 * took for _, took in figures], "ms")
        copies = [each for each, _ in figures]
        print(f"{f'  {name}: copies':<44} {median(copies):>12.2f} (max {max(copies):.2f}; bar 1.3 when shared)")


if __name__ == "__main__":
    main()
