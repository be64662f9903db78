"""Fetch many pages at once, from a site in this very program: one that is missing or never comes harms no other.

Prints:

    page      status     bytes  seconds
    /small    200          100 ...
    /large    200       100000 ...
    /empty    200            0 ...
    /missing  404            0 ...
    /slow     timed out      0 ...
    3 of 5 fetched, 100100 bytes in all
"""

from __future__ import annotations

import threading
import time
import urllib.error
from functools import partial

from millhand import ThreadPool
from millhand.examples.loopback import Site, browser, serve
from millhand.examples.table import print_table

SIZES = {"/small": 100, "/large": 100_000, "/empty": 0}


def fetch(base: str, page: str) -> tuple[str, str, int, float]:
    """Get a page; a site that sends nothing for half a second is given up."""
    began, size = time.monotonic(), 0
    try:
        with browser.open(base + page, timeout=0.5) as answer:
            status, size = str(answer.status), len(answer.read())
    except urllib.error.HTTPError as error:
        status = str(error.code)
        error.close()
    except TimeoutError:
        status = "timed out"
    return page, status, size, time.monotonic() - began


def main() -> None:
    """Serve, fetch, and draw a table."""
    end = threading.Event()

    class Pages(Site):
        def get(self) -> None:
            if self.path != "/slow" or end.wait(10):
                self.answer(200 if self.path in SIZES else 404, b"x" * SIZES.get(self.path, 0))

    with serve(Pages) as base, ThreadPool(5) as pool:
        fetched = list(pool.map(partial(fetch, base), [*SIZES, "/missing", "/slow"]))
        end.set()
    print_table(["page", "status", "bytes", "seconds"], fetched)
    good = [size for _, status, size, _ in fetched if status == "200"]
    print(f"{len(good)} of {len(fetched)} fetched, {sum(good)} bytes in all")


if __name__ == "__main__":
    main()
