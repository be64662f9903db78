"""A queue with two places: what a full one does is the caller's choice, and memory stays bounded.

The one worker is held meanwhile, so the queue fills up for certain.

Prints:

    one runs, two wait
    reject: 2 of 2 places are taken; ...
    drop_oldest: 'second' gives its place to 'fourth'
    block: waits for a place
    block: got one, now that a worker has taken a call
    ran: first, third, fourth, fifth
"""

from __future__ import annotations

import threading

from millhand import QueueFull, TaskDropped, ThreadPool


def main() -> None:
    """Fill the queue, then submit once more in three ways."""
    ran: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def work(name: str) -> None:
        started.set()
        go_on.wait()
        ran.append(name)

    with ThreadPool(1, queue_size=2) as pool:
        pool.submit(work, "first")
        started.wait()
        second, _ = pool.submit(work, "second"), pool.submit(work, "third")
        print("one runs, two wait")

        try:
            pool.with_options(when_full="reject").submit(work, "never")
        except QueueFull as error:
            print("reject:", error)

        pool.with_options(when_full="drop_oldest").submit(work, "fourth")
        if isinstance(second.exception(), TaskDropped):
            print("drop_oldest: 'second' gives its place to 'fourth'")

        print("block: waits for a place")  # the default: whoever produces too much is slowed down
        threading.Timer(0.05, go_on.set).start()
        pool.submit(work, "fifth")
        print("block: got one, now that a worker has taken a call")
    print("ran:", ", ".join(ran))


if __name__ == "__main__":
    main()
