"""Map over a source that never ends, with ten items on their way at most.

The source is read in the thread that takes the results, and never further ahead than `buffersize`.

Prints:

    0
    1
    4
    read 13 of an endless source
    unordered: 0 1 4 9 16
"""

from __future__ import annotations

from collections.abc import Iterator

from millhand import ThreadPool


def numbers(read: list[int]) -> Iterator[int]:
    """Yield the numbers from 0 on, and note which were asked for."""
    number = 0
    while True:
        read.append(number)
        yield number
        number += 1


def square(number: int) -> int:
    """Compute, as any function would."""
    return number * number


def main() -> None:
    """Take three squares, then leave."""
    read: list[int] = []
    with ThreadPool(4) as pool:
        for number in pool.map(square, numbers(read), buffersize=10):
            print(number)
            if number == 4:
                break  # what waits is cancelled
        print(f"read {len(read)} of an endless source")
        print("unordered:", *sorted(pool.map(square, range(5), ordered=False)))


if __name__ == "__main__":
    main()
