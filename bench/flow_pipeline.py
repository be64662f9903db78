"""How many items per second go through three no-op stages, beside a chain of queue.Queue and threads?

Interleaved in one run, with the same number of threads for each stage and the same number of items between the source
and the consumer: the chain's queues have a part of that each. The chain is what one writes by hand: a queue between
any two stages, threads that get, call and put, and a mark for the end.
"""

from __future__ import annotations

import argparse
import gc
import queue
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

from report import header, row

from millhand import ThreadPool
from millhand.flow import Pipeline, stage

STAGES = 3
END = object()
BAR = 5


def noop(item: object) -> object:
    return item


def chain(items: int, workers: int, room: int) -> int:
    """Put items through queues and threads, by hand; return how many came out."""
    queues: list[queue.Queue[Any]] = [queue.Queue(room // (STAGES + 1)) for _ in range(STAGES + 1)]

    def work(inbox: queue.Queue[Any], outbox: queue.Queue[Any]) -> None:
        while (item := inbox.get()) is not END:
            outbox.put(noop(item))
        inbox.put(END)  # for the next thread of this stage

    def feed() -> None:
        for item in range(items):
            queues[0].put(item)
        queues[0].put(END)
        for outbox, team in zip(queues[1:], teams, strict=True):
            for thread in team:
                thread.join()
            outbox.put(END)

    teams = [[threading.Thread(target=work, args=pair) for _ in range(workers)] for pair in pairwise(queues)]
    feeder = threading.Thread(target=feed)
    for thread in [*(thread for team in teams for thread in team), feeder]:
        thread.start()
    taken = 0
    while queues[-1].get() is not END:
        taken += 1
    feeder.join()
    return taken


def pipeline(items: int, workers: int, room: int, *, ordered: bool = True) -> int:
    stages = [stage(noop, workers=workers) for _ in range(STAGES)]
    return sum(1 for _ in Pipeline(*stages, ordered=ordered, buffersize=room).run(range(items)))


def unordered(items: int, workers: int, room: int) -> int:
    return pipeline(items, workers, room, ordered=False)


def maps(items: int, workers: int, room: int) -> int:
    with ThreadPool(workers) as one, ThreadPool(workers) as two, ThreadPool(workers) as three:
        size = room // STAGES
        first = one.map(noop, range(items), buffersize=size)
        return sum(1 for _ in three.map(noop, two.map(noop, first, buffersize=size), buffersize=size))


WAYS: dict[str, Callable[[int, int, int], int]] = {
    "queue.Queue and threads": chain,
    "millhand Pipeline": pipeline,
    "millhand Pipeline, unordered": unordered,
    "a map of a map of a map": maps,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=4, help="threads of each stage")
    parser.add_argument("--room", type=int, default=1024, help="items between the source and the consumer")
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    figures: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(options.rounds):
        for name, way in WAYS.items():
            gc.collect()
            began = time.perf_counter()
            taken = way(options.items, options.workers, options.room)
            figures[name].append(options.items / (time.perf_counter() - began))
            if taken != options.items:
                raise SystemExit(f"{name} lost items: {taken} of {options.items} came out")
    for name, values in figures.items():
        row(name, values, "/s")
    base = median(figures["queue.Queue and threads"])
    print(
        f"{'  ratio to queue.Queue and threads':<44} {median(figures['millhand Pipeline']) / base:>12.1f} (bar {BAR})"
    )


if __name__ == "__main__":
    main()
