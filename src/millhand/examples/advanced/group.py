"""A group: calls that are over when its body is left, and that fall together.

Prints:

    both fine: 3 7
    failed: [ValueError('no such page')]
    the other one was cancelled: True
"""

from __future__ import annotations

import threading

from millhand import ThreadPool, check_cancelled

running, never = threading.Event(), threading.Event()


def download() -> None:
    """Take long, but look now and then whether to stop."""
    running.set()
    while not never.wait(0.01):
        check_cancelled()


def fail() -> None:
    """Raise, once the other call runs."""
    running.wait()
    raise ValueError("no such page")


def main() -> None:
    """Let one group succeed and another one fail."""
    with ThreadPool(4) as pool:
        with pool.group() as group:
            first, second = group.submit(sum, [1, 2]), group.submit(sum, [3, 4])
        print("both fine:", first.result(), second.result())

        try:
            with pool.group() as group:
                long = group.submit(download)
                group.submit(fail)
        except* ValueError as errors:
            print("failed:", list(errors.exceptions))
        print("the other one was cancelled:", long.cancelled())


if __name__ == "__main__":
    main()
