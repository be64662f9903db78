"""Which pool for which work: threads where calls wait, processes where they compute, a buffer where many come at once.

Times differ from run to run; `bench/` is where they are measured with care.

Prints:

    work              how                   seconds  times as fast
    8 calls compute   one after the other ...
    8 calls compute   ThreadPool(4) ...
    8 calls compute   ProcessPool(4) ...
    20 calls wait     one after the other ...
    20 calls wait     ThreadPool(10) ...
    200 are submitted without a buffer ...
    200 are submitted with a buffer ...
    all found the same primes: True
"""

from __future__ import annotations

import time
from collections.abc import Callable
from timeit import timeit

from millhand import ProcessPool, ThreadPool
from millhand.examples.table import print_table

NUMBERS, PAUSES = [20_000] * 8, [0.02] * 20


def primes(limit: int) -> int:
    """Compute, in pure Python: one thread at a time."""
    return sum(all(n % each for each in range(2, int(n**0.5) + 1)) for n in range(2, limit))


def main() -> None:
    """Time each way once; the first for some work is what the others are compared with."""
    first, found, rows = dict[str, float](), list[int](), []
    with ThreadPool(10) as threads, ThreadPool(4) as four, ThreadPool(4, queue_size=0) as bare, ProcessPool(4) as cores:
        list(cores.map(primes, range(8)))  # so that the processes have started
        ways: list[tuple[str, str, Callable[[], object]]] = [
            ("8 calls compute", "one after the other", lambda: found.extend(map(primes, NUMBERS))),
            ("8 calls compute", "ThreadPool(4)", lambda: found.extend(four.map(primes, NUMBERS))),
            ("8 calls compute", "ProcessPool(4)", lambda: found.extend(cores.map(primes, NUMBERS))),
            ("20 calls wait", "one after the other", lambda: [*map(time.sleep, PAUSES)]),
            ("20 calls wait", "ThreadPool(10)", lambda: [*threads.map(time.sleep, PAUSES)]),
            ("200 are submitted", "without a buffer", lambda: [bare.submit(time.sleep, 0.001) for _ in range(200)]),
            ("200 are submitted", "with a buffer", lambda: [four.submit(time.sleep, 0.001) for _ in range(200)]),
        ]
        for work, how, run in ways:
            seconds = timeit(run, number=1)
            rows.append((work, how, seconds, first.setdefault(work, seconds) / seconds))
    print_table(["work", "how", "seconds", "times as fast"], rows)
    print("all found the same primes:", set(found) == {2262})


if __name__ == "__main__":
    main()
