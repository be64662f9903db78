"""A call that raises harms nobody else, and its error arrives whole: type, text and traceback.

Prints:

    12 -> 12
    seven -> ValueError: invalid literal for int() with base 10: 'seven' (in parse)
    None -> TypeError: int() argument must be ... (in parse)
    40 -> 40
    map gives 12
    map stops where the bad item stands
    a group cancels the rest, and gathers errors: ValueError
"""

from __future__ import annotations

import threading
import traceback

from millhand import ThreadPool, check_cancelled

ITEMS = ["12", "seven", None, "40"]


def parse(text: str | None) -> int:
    """Raise for what is no number."""
    return int(text)  # type: ignore[arg-type] # that it raises is the point


def wait() -> None:
    """Never end, unless told to."""
    tick = threading.Event()
    while not tick.wait(0.01):
        check_cancelled()


def main() -> None:
    """Look at each outcome; then let `map` and a group fail."""
    with ThreadPool(2) as pool:
        for text, future in [(text, pool.submit(parse, text)) for text in ITEMS]:
            error = future.exception()  # waits, and raises nothing
            where = traceback.extract_tb(error.__traceback__)[-1].name if error else ""
            print(text, "->", f"{type(error).__name__}: {error} (in {where})" if error else future.result())

        try:
            for number in pool.map(parse, ITEMS):
                print("map gives", number)
        except ValueError:
            print("map stops where the bad item stands")
        try:
            with pool.group() as group:
                group.submit(wait)
                group.submit(parse, "seven")
        except* ValueError as errors:
            print("a group cancels the rest, and gathers errors:", type(errors.exceptions[0]).__name__)


if __name__ == "__main__":
    main()
