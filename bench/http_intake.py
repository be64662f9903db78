"""How many single `POST /jobs` a second does one server answer, each after its fsynced commit?

Runs the server in a process of its own (granian, SQLite, synchronous=FULL, no runner) and the load generator
in another, on the same machine; only 202s count, and at the end the store must hold exactly those jobs.
The same server's `/livez`, which touches no store, is the ceiling.

    python bench/http_intake.py [--seconds 10] [--connections 64] [--wrk]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from millhand.jobs import Jobs
from millhand.server import ServerSettings, build_app, serve, tune_process

BODY = b'{"type":"nothing","payload":{"n":1}}'
SUBMIT = b"POST /jobs HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n"
WRK_SCRIPT = f"wrk.method = 'POST'\nwrk.body = '{BODY.decode()}'\n"


@dataclass
class Load:
    """What one run of the generator saw."""

    seconds: float = 0.0
    good: int = 0
    other: int = 0
    latencies: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.latencies) or [0.0]
        p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        return (
            f"{self.good / self.seconds:9,.0f} /s   p50 {p50 * 1000:6.2f} ms   p99 {p99 * 1000:6.2f} ms"
            f"   {self.good:,} answered, {self.other} refused"
        )


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered; answers come in one piece each."""

    def __init__(self, request: bytes, status: bytes, load: Load, until: float, done: asyncio.Event) -> None:
        self._request, self._start = request, b"HTTP/1.1 " + status
        self._load, self._until, self._done = load, until, done
        self._sent = 0.0
        self._transport: Any = None  # uvloop's transports are no asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Count an answer and ask again, until the time is up."""
        now = perf_counter()
        self._load.latencies.append(now - self._sent)
        if data.startswith(self._start):
            self._load.good += 1
        else:
            self._load.other += 1
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that this connection is done."""
        self._done.set()

    def _ask(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._request)


async def drive(port: int, request: bytes, status: bytes, connections: int, seconds: float) -> Load:
    load, loop = Load(), asyncio.get_running_loop()
    begun = perf_counter()
    done = [asyncio.Event() for _ in range(connections)]
    for event in done:
        connect = partial(Client, request, status, load, begun + seconds, event)
        await loop.create_connection(connect, "127.0.0.1", port)
    await asyncio.gather(*(event.wait() for event in done))
    load.seconds = perf_counter() - begun
    return load


def serve_here(database: str, switch: float | None, says: Connection) -> None:
    """Be the server process."""
    tune_process()
    if switch:
        sys.setswitchinterval(switch)
    with Jobs(f"sqlite:///{database}") as jobs:

        @jobs.register
        def nothing(n: int) -> None:
            pass

        async def main() -> None:
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            app = build_app(jobs, ServerSettings(queue_size=None))
            await serve(app, "127.0.0.1", 0, on_ready=says.send, stop=stop)

        uvloop.run(main())


def run_wrk(port: int, connections: int, seconds: float, folder: Path) -> None:
    script = folder / "submit.lua"
    script.write_text(WRK_SCRIPT)
    url = f"http://127.0.0.1:{port}/jobs"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}", "--latency", "-s", str(script), url]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def verify(database: Path, acknowledged: int) -> None:
    with sqlite3.connect(database) as connection:
        [kept] = connection.execute("SELECT count(*) FROM jobs").fetchone()
    verdict = "exactly the acknowledged ones" if kept == acknowledged else f"BUT {acknowledged:,} WERE ACKNOWLEDGED"
    print(f"store         {kept:9,} jobs: {verdict}")
    if kept != acknowledged:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--switch", type=float, help="another switch interval for the server, in seconds")
    parser.add_argument("--wrk", action="store_true", help="drive with wrk (which must be installed); verifies nothing")
    options = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"# {machine}, load {os.getloadavg()[0]:.2f}")
    folder = Path(tempfile.mkdtemp(prefix="millhand-bench-"))
    hears, says = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(
        target=serve_here, args=(str(folder / "work.db"), options.switch, says)
    )
    server.start()
    try:
        port = hears.recv()
        if options.wrk:
            run_wrk(port, options.connections, options.seconds, folder)
            return
        submits = uvloop.run(drive(port, SUBMIT, b"202", options.connections, options.seconds))
        print(f"POST /jobs    {submits}")
        lives = uvloop.run(drive(port, LIVEZ, b"200", options.connections, min(3.0, options.seconds)))
        print(f"GET /livez    {lives}")
        verify(folder / "work.db", submits.good)
    finally:
        server.terminate()
        server.join(30)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
