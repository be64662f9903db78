"""`serve` and `run`: the supervisor with its children, put together."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

from millhand.cli.child import start_log
from millhand.cli.settings import Settings
from millhand.jobs import Store, open_store
from millhand.supervisor import ChildSpec, Supervisor, SupervisorSettings


def run_service(target: str, settings: Settings, *, http: bool, runner: bool) -> int:
    """Run until a signal; return the exit code."""
    start_log("millhand")
    to_runner, to_http = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    orders = {"settings": settings.to_orders()}

    def command(module: str) -> list[str]:
        return [sys.executable, "-m", f"millhand.cli.{module}", target, settings.database_url or ""]

    specs = []
    if http:  # first, since it is to be stopped first
        specs.append(ChildSpec("http", command("http_child"), orders, wake=to_http))
    if runner:
        specs.append(ChildSpec("runner", command("runner_child"), orders, runs_jobs=True, wake=to_runner))
    supervisor_settings = SupervisorSettings(
        grace=settings.grace,
        http_grace=settings.drain_delay + 2 * settings.http_timeout + 5.0,
        stall_limit=settings.stall_limit,
        report_every=settings.metrics_interval if settings.metrics_enabled else None,
    )
    return Supervisor(specs, _open_store, _announce, supervisor_settings).run()


def _open_store(url: str) -> Store:
    return open_store(url)


def _announce(said: Mapping[str, Any]) -> None:
    if "runner" in said:
        print(f"{said['runner']['workers']} workers are ready", flush=True)
    if "http" in said:
        host, port = said["http"]["host"], said["http"]["port"]
        base = f"http://{'[' + host + ']' if ':' in host else host}:{port}"
        print(f"listening on {base}", flush=True)
        print(f"""try: curl -X POST {base}/jobs -d '{{"type":"echo","payload":{{"text":"hello"}}}}'""", flush=True)
