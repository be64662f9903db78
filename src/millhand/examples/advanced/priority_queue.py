"""Three orders for one queue: strict priorities, the newest first, and tenants that take turns.

"fair": no tenant waits for another one's backlog. A full queue may drop what would run last.

Prints:

    strict: alarm, order 1, order 2, newsletter
    lifo: newsletter, alarm, order 2, order 1
    fair: big 1, small 1, big 2, small 2, big 3
    a place for the alarm: alarm, order 1; dropped: newsletter
"""

from __future__ import annotations

from millhand import TaskDropped, ThreadPool

URGENCY = {"order 1": 0, "order 2": 0, "alarm": 9, "newsletter": -9}


def main() -> None:
    """Let the same calls wait in different lines, before the one worker of a pool that is paused meanwhile."""
    ran: list[str] = []

    with ThreadPool(1, ageing=None) as strict:  # without ageing, what is low may wait for ever
        strict.pause()
        for name, priority in URGENCY.items():
            strict.with_options(priority=priority).submit(ran.append, name)
    print("strict:", ", ".join(ran))  # leaving the body resumes

    ran.clear()
    with ThreadPool(1, order="lifo") as newest:
        newest.pause()
        for name in URGENCY:
            newest.submit(ran.append, name)
    print("lifo:", ", ".join(ran))

    ran.clear()
    with ThreadPool(1, order="fair") as fair:
        fair.pause()
        for name in ("big 1", "big 2", "big 3", "small 1", "small 2"):
            fair.with_options(key=name.split()[0]).submit(ran.append, name)
    print("fair:", ", ".join(ran))

    ran.clear()
    with ThreadPool(1, queue_size=2, when_full="drop_lowest") as full:
        full.pause()
        futures = {
            name: full.with_options(priority=URGENCY[name]).submit(ran.append, name)
            for name in ("newsletter", "order 1", "alarm")
        }
    dropped = [name for name, future in futures.items() if isinstance(future.exception(), TaskDropped)]
    print("a place for the alarm:", ", ".join(ran) + "; dropped:", *dropped)


if __name__ == "__main__":
    main()
