"""How late does a timeout strike a process, and how long is a place empty: in C code, asleep, deaf to SIGTERM?

Late: from the limit to the failure of the future. Gone: from the limit to the death of the process. Back: from the
limit to the result of the next call, on the only worker.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from report import header

from millhand import ProcessPool, TaskTimeout

LIMIT = 0.2


def note(path: Path) -> None:
    path.write_text(f"{os.getpid()} {time.monotonic()}")


def in_c(path: Path) -> int:
    note(path)
    return sum(range(10**11))


def asleep(path: Path) -> None:
    note(path)
    time.sleep(60)


def deaf(path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(path)
    while True:
        pass


def strike(pool: ProcessPool, call: Callable[[Path], object], path: Path) -> tuple[float, float, float]:
    """Return how late the failure was, the death, and the next result, in milliseconds."""
    future = pool.with_options(timeout=LIMIT).submit(call, path)
    error = future.exception()
    late = time.monotonic()
    if not isinstance(error, TaskTimeout):
        raise SystemExit(f"that was no timeout: {error!r}")
    pid, began = path.read_text().split()
    try:
        file = os.pidfd_open(int(pid))
        select.select([file], [], [])
        os.close(file)
    except ProcessLookupError:
        pass
    gone = time.monotonic()
    pool.submit(int).result()
    due = float(began) + LIMIT
    return 1e3 * (late - due), 1e3 * (gone - due), 1e3 * (time.monotonic() - due)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    path = Path("process_limits.pid").resolve()
    try:
        with ProcessPool(1) as pool:
            strike(pool, asleep, path)  # from now on, there is a spare
            for call in (in_c, asleep, deaf):
                figures = list(zip(*(strike(pool, call, path) for _ in range(options.rounds)), strict=True))
                text = "   ".join(
                    f"{name} {median(values):5.1f} ms (max {max(values):5.1f})"
                    for name, values in zip(("late", "gone", "back"), figures, strict=True)
                )
                print(f"{call.__name__:<10} {text}   (bar: gone within 50 ms, back within 1,000)")
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
