"""How many kept no-op jobs, already waiting, are run and finished per second on one SQLite file?

Every claim and every finish is on disk (synchronous=FULL); the functions run on 8 threads, default settings. Beside it
Huey on SQLite at the best setting that we know of (2 worker processes, fsync=True), when it is installed. Interleaved.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from report import header, row

from millhand.core import JobState
from millhand.jobs import Jobs
from millhand.runner import Runner


def drain_millhand(n: int, folder: Path) -> float:
    """Keep n jobs, run them all, and return how many ended per second of running."""
    jobs = Jobs(f"sqlite:///{folder / 'millhand.db'}")

    @jobs.register
    def noop() -> None:
        pass

    drafts = [jobs.draft("noop", None) for _ in range(n)]
    for start in range(0, n, 1000):
        jobs.store.intake.enqueue(drafts[start : start + 1000])
    began = time.perf_counter()
    with Runner(jobs, workers=8):
        jobs.handle(drafts[-1].id).result()
        while jobs.store.reading.counts()[JobState.COMPLETED] < n:
            pass
        took = time.perf_counter() - began
    totals = jobs.store.reading.totals()
    jobs.close()
    if totals["stale_finishes_rejected"]:
        raise SystemExit(f"a finish was refused: {totals}")
    return n / took


HUEY = """
import sys
from huey import SqliteHuey
huey = SqliteHuey(filename=sys.argv[1], fsync=True, results=False)
@huey.task()
def noop():
    with open(sys.argv[2], "ab", buffering=0) as file:
        file.write(b".")
if sys.argv[3] == "fill":
    for _ in range(int(sys.argv[4])):
        noop()
else:
    from huey.consumer import Consumer
    Consumer(huey, workers=2, worker_type="process", periodic=False, initial_delay=0.01, backoff=1.0).run()
"""


def drain_huey(n: int, folder: Path) -> float:
    """Do the same with Huey; executions are counted by the bytes its tasks append, as they keep no count."""
    script, database, effects = folder / "huey_app.py", folder / "huey.db", folder / "effects"
    script.write_text(HUEY)
    effects.touch()
    command = [sys.executable, str(script), str(database), str(effects)]
    subprocess.run([*command, "fill", str(n)], check=True)
    consumer = subprocess.Popen([*command, "run"], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while effects.stat().st_size == 0:
            time.sleep(0.001)
        began, already = time.perf_counter(), effects.stat().st_size
        while effects.stat().st_size < n:
            time.sleep(0.001)
        return (n - already) / (time.perf_counter() - began)
    finally:
        os.killpg(consumer.pid, 9)
        consumer.wait()


def measure(drain: Callable[[int, Path], float], n: int) -> float:
    """Run one round in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return drain(n, Path(folder))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    header("Kept no-op jobs drained per second, SQLite, synchronous=FULL")
    peer = find_spec("huey") is not None
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(measure(drain_millhand, arguments.jobs))
        if peer:
            theirs.append(measure(drain_huey, arguments.jobs // 10))
    mine = row("millhand, 8 threads, claim and finish on disk", ours, "jobs/s")
    if peer:
        print(f"ratio {mine / row('Huey, 2 processes, fsync', theirs, 'jobs/s'):.1f}")
    else:
        print("(huey is not installed: pip install huey puts it beside)")


if __name__ == "__main__":
    main()
