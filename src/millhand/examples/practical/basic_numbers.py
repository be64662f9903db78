"""Numbers in, numbers out: one function over many of them, on threads and on processes, with the same answer.

Prints:

    the longest Collatz path below 3000: 216 steps, from 2919
    on threads: the same
    on processes: the same
    sum of all steps: 215015
"""

from __future__ import annotations

from millhand import ProcessPool, ThreadPool

NUMBERS = range(1, 3000)


def steps(number: int) -> int:
    """Count how often a number is halved, or made 3n + 1, until it is 1."""
    count = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        count += 1
    return count


def main() -> None:
    """Compute here, on threads and on processes."""
    here = list(map(steps, NUMBERS))
    longest = max(here)
    print(f"the longest Collatz path below 3000: {longest} steps, from {NUMBERS[here.index(longest)]}")
    with ThreadPool(4) as threads:  # no faster for pure Python, but bounded, and the same words
        print("on threads:", "the same" if list(threads.map(steps, NUMBERS)) == here else "another answer")
    with ProcessPool(2) as processes:  # these compute at the same time
        print("on processes:", "the same" if list(processes.map(steps, NUMBERS)) == here else "another answer")
    print("sum of all steps:", sum(here))


if __name__ == "__main__":
    main()
