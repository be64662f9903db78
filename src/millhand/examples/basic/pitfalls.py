"""Four mistakes that everybody makes once: each the wrong way, where it does no harm, and the right way beside it.

Prints:

    leak, wrong: 1 thread is left when the work is done
    leak, right: 0 threads are left
    nested waits, wrong: the worker waits for itself, here until TimeoutError
    nested waits, right: two calls on one worker, 42
    1 worker for 8 calls that wait, wrong: all at once is False
    8 workers for 8 calls that wait, right: all at once is True
    errors, wrong: 1 / 0 was computed, and nobody heard of it
    errors, right: ZeroDivisionError
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from operator import truediv

from millhand import ThreadPool


def wait_inside(pool: Executor, patience: float | None) -> int:
    """Wait, in a call, for another call of the same pool."""
    return pool.submit(int, "42").result(timeout=patience)


def meet(others: threading.Barrier, patience: float) -> bool:
    """Wait for something outside of the program; tell whether all calls did so at once."""
    try:
        return others.wait(patience) >= 0
    except threading.BrokenBarrierError:
        return False


def main() -> None:
    """Make each mistake, then mend it."""
    before = threading.active_count()
    (theirs := ThreadPoolExecutor(1)).submit(int).result()
    print(f"leak, wrong: {threading.active_count() - before} thread is left when the work is done")
    error = theirs.submit(wait_inside, theirs, 0.1).exception()  # without the timeout, this would never end
    theirs.shutdown()
    with ThreadPool(1) as pool:  # leaving the body ends the threads; a worker runs what it waits for
        answer = pool.submit(wait_inside, pool, None).result()
    print(f"leak, right: {threading.active_count() - before} threads are left")
    print("nested waits, wrong: the worker waits for itself, here until", type(error).__name__)
    print("nested waits, right: two calls on one worker,", answer)
    for said, workers, patience in (("1 worker", 1, 0.05), ("8 workers", 8, 10.0)):
        with ThreadPool(workers) as pool:  # for calls that compute: no more than there are processors
            met = all(pool.map(meet, [threading.Barrier(8)] * 8, [patience] * 8))
        print(f"{said} for 8 calls that wait, {'right' if met else 'wrong'}: all at once is {met}")
    with ThreadPool(1) as pool:
        pool.submit(truediv, 1, 0)
        print("errors, wrong: 1 / 0 was computed, and nobody heard of it")
        print("errors, right:", type(pool.submit(truediv, 1, 0).exception()).__name__)


if __name__ == "__main__":
    main()
