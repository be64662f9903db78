"""The HTTP process of a service."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress

import uvloop

from millhand.cli.child import Assignment, be_child, wait_for_stop
from millhand.server import ServerSettings, build_app, serve, tune_process


def work(assignment: Assignment) -> None:
    """Serve until told to stop."""
    tune_process()
    jobs, settings, lifeline = assignment.jobs, assignment.settings, assignment.lifeline
    server_settings = ServerSettings(
        queue_size=settings.queue_size,
        http_timeout=settings.http_timeout,
        drain_delay=settings.drain_delay,
        metrics_enabled=settings.metrics_enabled,
    )
    jobs.store.housekeeping.on_commit(lambda arrived, ended: assignment.wake.ring() if arrived else None)
    assignment.wake.listen(jobs.watch.look_soon)

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def pass_on_stop() -> None:
            wait_for_stop(lifeline)
            with suppress(RuntimeError):  # the loop has closed: it could not listen, and has said so
                loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=pass_on_stop, name="millhand-stop", daemon=True).start()
        await serve(
            build_app(jobs, server_settings),
            settings.http_host,
            assignment.before["port"] if assignment.before else settings.http_port,
            on_ready=lambda port: lifeline.send("ready", host=settings.http_host, port=port),
            stop=stop,
        )

    uvloop.run(run())
    jobs.close()


if __name__ == "__main__":
    be_child("http", sys.argv[1:], work)
