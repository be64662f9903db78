"""Does a whole service (`millhand serve`: HTTP, runner, supervisor) keep up, and how long does a job take through it?

    python bench/service.py rate [--per-second 2000] [--seconds 60]   submits at a steady rate, one by one
    python bench/service.py flood [--seconds 20] [--no-runner]        64 connections, each asking again at once

Default settings, one SQLite file at synchronous=FULL, load generator on the same machine. From submit to completed is
read from the store, by its own clock; at the end the store must hold exactly the acknowledged jobs, all completed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

import uvloop
from http_intake import Load, drive
from report import header

BODY = b'{"type":"echo","payload":{"text":"x"}}'
SUBMIT = b"POST /jobs HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
TICK = 0.01


@contextmanager
def service(folder: Path, *arguments: str) -> Iterator[int]:
    """Run the real command in a folder; give its port; stop it in order."""
    command = [sys.executable, "-m", "millhand.cli", "serve", "--http-port", "0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout or ():
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1])
                break
    finally:
        process.terminate()
        process.wait(60)


class Paced(asyncio.Protocol):
    """One connection on which requests follow each other without waiting for answers (pipelining)."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent: list[float] = []
        self._answered = 0

    def data_received(self, data: bytes) -> None:
        """Count the answers in what came."""
        now = time.perf_counter()
        for status in re.findall(rb"HTTP/1\.1 (\d+)", data):
            if status == b"202":
                self._load.good += 1
            else:
                self._load.other += 1
            self._load.latencies.append(now - self._sent[self._answered])
            self._answered += 1

    def ask(self, transport: asyncio.WriteTransport) -> None:
        """Send one request."""
        self._sent.append(time.perf_counter())
        transport.write(SUBMIT)


async def pace(port: int, per_second: float, seconds: float) -> Load:
    """Submit at a rate that does not depend on the answers, over 64 connections in turn."""
    load, loop = Load(), asyncio.get_running_loop()
    lines = [await loop.create_connection(lambda: Paced(load), "127.0.0.1", port) for _ in range(64)]
    begun, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        for _ in range(int(passed * per_second) - sent):
            transport, line = lines[sent % len(lines)]
            line.ask(transport)
            sent += 1
        await asyncio.sleep(TICK)
    while load.good + load.other < sent and time.perf_counter() - begun < seconds + 30:
        await asyncio.sleep(TICK)
    load.seconds = time.perf_counter() - begun
    load.other += sent - load.good - load.other  # never answered
    for transport, _ in lines:
        transport.close()
    return load


def waiting(database: Path) -> int:
    """Count the jobs that have not ended."""
    with sqlite3.connect(database) as connection:
        query = "SELECT coalesce(sum(n), 0) FROM counts WHERE state IN ('pending', 'scheduled', 'processing')"
        return int(connection.execute(query).fetchone()[0])


def through(database: Path) -> str:
    """Tell how long jobs took from their submit to their end, and how many ended how."""
    with sqlite3.connect(database) as connection:
        took = sorted(t for [t] in connection.execute("SELECT finished_at - submitted_at FROM jobs WHERE finished_at"))
        states = dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
    numbers = mean(took), took[len(took) // 2], took[len(took) * 99 // 100], took[-1]
    text = "mean {:.1f} ms, p50 {:.1f}, p99 {:.1f}, max {:.1f}".format(*(n * 1000 for n in numbers))
    return f"submit -> completed: {text}; {states}"


def main() -> None:
    """Print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["rate", "flood"], nargs="?", default="rate")
    parser.add_argument("--per-second", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--no-runner", action="store_true")
    options = parser.parse_args()
    header(f"{options.mode} through millhand serve{' --no-runner' if options.no_runner else ''}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "millhand.db"
        # The bound on waiting jobs would end a flood that no runner works off.
        arguments = ["--queue-size", "100000000", *(["--no-runner"] if options.no_runner else [])]
        with service(folder, *arguments) as port:
            if options.mode == "rate":
                load = uvloop.run(pace(port, options.per_second, options.seconds))
            else:
                load = uvloop.run(drive(port, SUBMIT, b"202", 64, options.seconds))
            backlog = waiting(database)
            print(f"POST /jobs {load}")
            print(f"backlog at the end of the load: {backlog:,} jobs, {backlog / load.seconds:+,.0f} a second")
            deadline = time.monotonic() + 120
            while not options.no_runner and waiting(database) and time.monotonic() < deadline:
                time.sleep(0.05)
        if not options.no_runner:
            print(through(database))
        with sqlite3.connect(database) as connection:
            [kept] = connection.execute("SELECT count(*) FROM jobs").fetchone()
    if kept != load.good or load.other:
        raise SystemExit(f"{kept:,} jobs kept, {load.good:,} acknowledged, {load.other} refused or unanswered")
    print("every acknowledged job is in the store, none was refused")


if __name__ == "__main__":
    main()
