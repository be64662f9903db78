"""An elastic pool has as many workers as the load is worth: it climbs while calls wait, and rests while it is idle.

Calls that wait, as for a network, are worth a worker each. Every tenth of a second the pool decides, and says so.

Prints:

    under load, 1 to 16 workers: 1, 2, ...
    idle: 1
"""

from __future__ import annotations

import queue
import time
from itertools import groupby, repeat

from millhand import ThreadPool
from millhand.core.events import Event, PoolResized

PATIENCE = 20.0


def wait(seconds: float) -> float:
    """Wait, as for an answer."""
    time.sleep(seconds)
    return seconds


def main() -> None:
    """Give it load until it has four workers, then none until it has one."""
    decided: queue.SimpleQueue[int] = queue.SimpleQueue()

    def note(event: Event) -> None:
        if isinstance(event, PoolResized):
            decided.put(event.size)

    sizes = [1]
    with ThreadPool((1, 16), idle_timeout=0.2) as pool:
        pool.listen(note)
        for _ in pool.map(wait, repeat(0.005, 10_000), buffersize=100):
            while not decided.empty():
                sizes.append(decided.get())
            if sizes[-1] >= 4:
                break  # what still waits is cancelled
        print("under load, 1 to 16 workers:", ", ".join(str(size) for size, _ in groupby(sizes)))
        while decided.get(timeout=PATIENCE) > 1:
            pass
        print("idle: 1")


if __name__ == "__main__":
    main()
