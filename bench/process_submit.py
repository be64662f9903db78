"""How many no-op calls per second does a pool of processes take, run and answer, beside its peers?

Interleaved in one run; the pools are made and warm before it. Each call is submitted by itself, all of them at once;
then all results are taken.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import mpire
import pebble
from loky import ProcessPoolExecutor as LokyExecutor
from report import header, row

from millhand import ProcessPool

OURS = "millhand ProcessPool"


def noop() -> None:
    pass


Submit = Callable[[int], list[Callable[[], Any]]]


def of_executor(executor: Any) -> Submit:
    return lambda n: [executor.submit(noop).result for _ in range(n)]


@contextmanager
def of_pebble(workers: int) -> Iterator[Submit]:
    with pebble.ProcessPool(max_workers=workers) as pool:
        yield lambda n: [pool.schedule(noop).result for _ in range(n)]


@contextmanager
def of_mpire(workers: int) -> Iterator[Submit]:
    with mpire.WorkerPool(n_jobs=workers, keep_alive=True) as pool:
        yield lambda n: [pool.apply_async(noop).get for _ in range(n)]


def per_second(submit: Submit, n: int) -> float:
    began = time.perf_counter()
    for result in submit(n):
        result()
    return n / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000, help="of ours per round; peers do a tenth of it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    with ExitStack() as stack:
        enter = stack.enter_context
        pools: dict[str, Submit] = {
            OURS: of_executor(enter(ProcessPool(options.workers))),
            "stdlib ProcessPoolExecutor": of_executor(enter(ProcessPoolExecutor(options.workers))),
            "pebble": enter(of_pebble(options.workers)),
            "mpire apply_async": enter(of_mpire(options.workers)),
            "loky": of_executor(enter(LokyExecutor(options.workers))),
        }
        figures: dict[str, list[float]] = {name: [] for name in pools}
        for number in range(options.rounds + 1):
            for name, submit in pools.items():
                figure = per_second(submit, options.calls if name == OURS else options.calls // 10)
                if number:  # the first is for warming up
                    figures[name].append(figure)
    for name, values in figures.items():
        row(name, values, "/s")
    for name in list(figures)[1:]:
        print(f"{f'  ratio to {name}':<44} {median(figures[OURS]) / median(figures[name]):>12.1f} (bar 10)")


if __name__ == "__main__":
    main()
