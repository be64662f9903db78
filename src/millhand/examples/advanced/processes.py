"""Use all cores; a call that crashes or runs too long costs its own process.

Prints:

    17984 primes
    was killed by SIGKILL
    too long after 0.2 s
    still there: 25 primes
"""

from __future__ import annotations

import os
import signal
from itertools import pairwise

from millhand import ProcessPool, TaskTimeout, WorkerCrashed


def primes(limits: tuple[int, int]) -> int:
    """Count the primes between two numbers."""
    return sum(all(n % each for each in range(2, int(n**0.5) + 1)) for n in range(max(limits[0], 2), limits[1]))


def crash() -> None:
    """Die as if out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def spin() -> None:
    """Never end."""
    while True:
        pass


def main() -> None:
    """Compute; survive."""
    with ProcessPool(2) as pool:
        print(sum(pool.map(primes, pairwise(range(0, 200_001, 10_000)), ordered=False)), "primes")
        died = pool.submit(crash).exception()
        print(isinstance(died, WorkerCrashed) and died.reason)
        error = pool.with_options(timeout=0.2).submit(spin).exception()
        print(isinstance(error, TaskTimeout) and f"too long after {error.timeout} s")
        print("still there:", pool.submit(primes, (0, 100)).result(), "primes")


if __name__ == "__main__":
    main()
