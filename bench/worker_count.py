"""How long do 100 jobs of 1 s take with 10 workers, and with 1?

The teaching text's own table says about 10 s and 100 s. A whole run takes two minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from report import header

from millhand.jobs import Jobs
from millhand.runner import Runner


def run(workers: int, jobs_wanted: int, seconds_each: float) -> float:
    """Keep the jobs, run them, and return how long that took."""
    with tempfile.TemporaryDirectory() as folder, Jobs(f"sqlite:///{Path(folder) / 'work.db'}") as jobs:
        jobs.register("work")(lambda: time.sleep(seconds_each))
        began = time.perf_counter()
        with Runner(jobs, workers=workers):
            handles = [jobs.submit("work") for _ in range(jobs_wanted)]
            for handle in handles:
                handle.result()
        return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds-each", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=100)
    options = parser.parse_args()
    header(f"{options.jobs} kept jobs of {options.seconds_each:g} s each, submit to last result")
    for workers in (10, 1):
        least = options.jobs * options.seconds_each / workers
        print(f"{workers:>3} workers {run(workers, options.jobs, options.seconds_each):8.2f} s (at least {least:g} s)")


if __name__ == "__main__":
    main()
