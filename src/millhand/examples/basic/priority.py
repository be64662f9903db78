"""Some calls run before others: the higher number first, equals first come, first served.

Nothing starves: a minute of waiting (the pool's `ageing`) makes up for one level.

Prints:

    submitted: backup, report, alarm, mail, fire
    ran: fire, alarm, report, mail, backup
    moved ahead while it waited: True
    moved after it ran: False
"""

from __future__ import annotations

from millhand import ThreadPool

CALLS = {"backup": -5, "report": 0, "alarm": 5, "mail": 0, "fire": 5}


def main() -> None:
    """Submit in the wrong order, to a pool with one worker that is paused meanwhile."""
    ran: list[str] = []
    with ThreadPool(1) as pool:
        pool.pause()  # so that all of them wait, and the order decides
        futures = {
            name: pool.with_options(priority=priority).submit(ran.append, name) for name, priority in CALLS.items()
        }
        print("submitted:", ", ".join(CALLS))
        moved = futures["fire"].set_priority(9)
        pool.resume()
        futures["backup"].result()
        print("ran:", ", ".join(ran))
        print("moved ahead while it waited:", moved)
        print("moved after it ran:", futures["backup"].set_priority(9))


if __name__ == "__main__":
    main()
