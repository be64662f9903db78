"""Forty records, some of them broken: the good ones are kept, the bad ones counted by kind, and nothing stops early.

Prints:

    40 records: 30 succeeded, 10 failed
    what happened      how often  for example
    succeeded                 30  record 1
    KeyError                   6  record 0
    ZeroDivisionError          4  record 3
    the pool counted the same: 30 done, 10 failed
    total of the good ones: 1182.0
"""

from __future__ import annotations

from concurrent.futures import Future, as_completed

from millhand import ThreadPool
from millhand.examples.table import print_table

RECORDS = [
    {"id": n, "total": 10 * n} if n % 7 == 0 else {"id": n, "total": 10 * n, "count": 0 if n % 9 == 3 else 5}
    for n in range(40)
]


def average(record: dict[str, int]) -> float:
    """Divide; raise KeyError or ZeroDivisionError for a broken record."""
    return record["total"] / record["count"]


def main() -> None:
    """Run all of them, and sort the outcomes."""
    kinds: dict[str, list[int]] = {"succeeded": []}
    total = 0.0
    with ThreadPool(4, queue_size=10) as pool:
        numbers: dict[Future[float], int] = {pool.submit(average, record): record["id"] for record in RECORDS}
        for future in as_completed(numbers):
            try:
                total += future.result()
                kind = "succeeded"
            except (KeyError, ZeroDivisionError) as error:  # what is expected; anything else is a bug, and ends this
                kind = type(error).__name__
            kinds.setdefault(kind, []).append(numbers[future])
    good = len(kinds["succeeded"])
    print(f"{len(RECORDS)} records: {good} succeeded, {len(RECORDS) - good} failed")
    by_number = sorted(kinds.items(), key=lambda item: -len(item[1]))
    rows = [(kind, len(found), f"record {min(found)}") for kind, found in by_number]
    print_table(["what happened", "how often", "for example"], rows)
    stats = pool.stats()
    print(f"the pool counted the same: {stats.done} done, {stats.failed} failed")
    print("total of the good ones:", total)


if __name__ == "__main__":
    main()
