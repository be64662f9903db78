"""Limits on running, on waiting and running together, and on one's own patience.

A thread cannot be stopped from outside: what runs looks now and then whether to go on (`check_cancelled`). What must
be killed belongs in a ProcessPool.

Prints:

    running: spin was still running after 0.05 s; raise its timeout or make it shorter
    and it stopped: True
    waiting: print had not ended 0.05 s after it was submitted; allow more, or submit less
    patience: gave up waiting, the call goes on
    ... and ended: 42
    1 done late, 2 timed out
"""

from __future__ import annotations

import threading

from millhand import ThreadPool, check_cancelled


def spin(stopped: threading.Event) -> None:
    """Work until told to stop."""
    tick = threading.Event()
    try:
        while not tick.wait(0.01):
            check_cancelled()
    finally:
        stopped.set()


def answer(go_on: threading.Event) -> int:
    """Take as long as it takes."""
    go_on.wait()
    return 42


def main() -> None:
    """Run into each limit, on the one worker there is."""
    stopped, go_on = threading.Event(), threading.Event()
    with ThreadPool(1) as pool:
        print("running:", pool.with_options(timeout=0.05).submit(spin, stopped).exception())
        print("and it stopped:", stopped.wait(10))
        slow = pool.submit(answer, go_on)
        print("waiting:", pool.with_options(total_timeout=0.05).submit(print, "never").exception())
        try:
            slow.result(timeout=0.05)
        except TimeoutError:
            print("patience: gave up waiting, the call goes on")
        go_on.set()
        print("... and ended:", slow.result())
    print(f"{pool.stats().done} done late, {pool.stats().timed_out} timed out")


if __name__ == "__main__":
    main()
