"""`millhand serve` and `millhand run` as real processes, for the tests that must see them from outside.

Nothing here sleeps: output is read as it comes, an end is waited for by its file descriptor. A service is a
session of its own, so leaving its `with` block finds and kills every process of it, also orphans.
"""

from __future__ import annotations

import functools
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from millhand.cli.settings import SETTINGS
from millhand.jobs import Jobs

MILLHAND = Path(sys.executable).with_name("millhand")
START_TIMEOUT = 15.0
"""Seconds until a service must be ready; about half a second on an idle machine."""
TRY = "try: curl -X POST"


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without any setting of millhand's, without a proxy for us, and with `extra`."""
    ours = {variable for setting in SETTINGS for variable in setting.variables}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "no_proxy": "127.0.0.1,localhost", **(extra or {})}


def run_millhand(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 15.0
) -> subprocess.CompletedProcess[str]:
    """Run a millhand command to its end, in a folder."""
    return subprocess.run(
        [MILLHAND, *arguments],
        cwd=folder,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_end_of(pid: int, timeout: float) -> bool:
    """Wait until the process has ended, whoever its parent is; return whether it did."""
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended, _, _ = select.select([file], [], [], timeout)
        return bool(ended)
    finally:
        os.close(file)


class Service:
    """One `millhand serve` (or `run`), started on construction; use it in a `with` block.

        with Service(tmp_path, "--worker-count", "4") as service:
            job = service.submit("echo", {"text": "hi"})
            assert service.wait_for(job)["result"] == "hi"

    Args:
        folder: its working directory; the demo jobs keep `millhand.db` there.
        arguments: what follows the command. `serve` gets `--http-port 0` unless a port is named here.
        command: `serve` or `run`.
        environment: variables beside those of this process, which lose all of millhand's settings.
        wait: whether to return only when the service said that it is ready.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: str = "serve",
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        self.folder = folder
        self.command = command
        if command == "serve" and "--http-port" not in arguments:
            arguments = (*arguments, "--http-port", "0")
        self.process = subprocess.Popen(
            [MILLHAND, command, *arguments],
            cwd=folder,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # one pipe: the order of what is printed and what is logged is kept
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._output = _Output(self.process)
        if wait:
            try:
                self.wait_until_ready()
            except BaseException:
                self.close()
                raise

    # What it says

    @property
    def output(self) -> str:
        """All that it has printed and logged so far."""
        return "\n".join(self._output.lines())

    def wait_for_line(self, pattern: str, timeout: float = 10.0, *, times: int = 1) -> str:
        """Return the line (the `times`-th) in which the pattern is found, once it has been said.

        Raises AssertionError with all output when it is not said in time, or never will be.
        """
        return self._output.wait_for(pattern, timeout, times)

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait for the line that says so."""
        self.wait_for_line(TRY if self.command == "serve" else "workers are ready", timeout)

    @functools.cached_property
    def base(self) -> str:
        """Where it listens, such as `http://127.0.0.1:40123`."""
        line = self.wait_for_line(r"^listening on ", START_TIMEOUT)
        return line.removeprefix("listening on ")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.base.rpartition(":")[2])

    # Its processes

    @property
    def supervisor(self) -> int:
        """The pid of the supervisor."""
        return self.process.pid

    @property
    def http(self) -> int:
        """The pid of the HTTP process that is there now."""
        return self._child("http_child")

    @property
    def runner(self) -> int:
        """The pid of the runner process that is there now."""
        return self._child("runner_child")

    def processes(self) -> list[int]:
        """The pids of all its processes that have not ended: every process of its session, orphans too."""
        return [pid for pid in _pids() if _is_alive_in_session(pid, self.process.pid)]

    def send(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        """Wait until the supervisor has ended; return its exit code."""
        assert wait_for_end_of(self.process.pid, timeout), f"still running after {timeout:g} s; it said:\n{self.output}"
        return self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 15.0) -> int:
        """Send it a signal and wait for its end; return the exit code."""
        self.send(number)
        return self.wait(timeout)

    def close(self) -> None:
        """Kill whatever of it is left. Idempotent."""
        while left := self.processes():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                wait_for_end_of(pid, 5.0)
        self.process.wait()
        self._output.close()
        if "client" in self.__dict__:
            self.client.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        if error is not None:
            print(f"── millhand {self.command} in {self.folder} said:\n{self.output}")

    # Its jobs

    @functools.cached_property
    def client(self) -> httpx.Client:
        """A client for it; any number of threads may use it."""
        limits = httpx.Limits(max_connections=50)
        return httpx.Client(base_url=self.base, timeout=30.0, limits=limits, trust_env=False)

    def submit(self, type: str, payload: Any = None, **options: Any) -> str:
        """Submit a job over HTTP and return its id."""
        answer = self.client.post("/jobs", json={"type": type, "payload": payload or {}, **options})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def get(self, job: str) -> dict[str, Any]:
        """Return a job as it stands."""
        return self._read(f"/jobs/{job}")

    def wait_for(self, job: str, seconds: float = 15.0) -> dict[str, Any]:
        """Return a job once it has ended, or as it stands after so many seconds."""
        return self._read(f"/jobs/{job}?wait={seconds}")

    def wait_for_state(self, job: str, *states: str, seconds: float = 10.0) -> dict[str, Any]:
        """Return a job once it stands in one of these states; between two looks the service itself is waited for."""
        deadline = time.monotonic() + seconds
        while (found := self._read(f"/jobs/{job}?wait=10ms"))["state"] not in states:
            assert time.monotonic() < deadline, f"not {' or '.join(states)} within {seconds:g} s: {found}"
        return found

    def all_jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, newest first."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self._read(f"/jobs?limit=1000{cursor}")
            found += page["jobs"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    @property
    def url(self) -> str:
        """The URL of the demo jobs' database, to be opened from outside."""
        return f"sqlite:///{self.folder / 'millhand.db'}"

    def open_jobs(self) -> Jobs:
        """Open the demo jobs' database from this process; close it after."""
        return Jobs(self.url)

    def _read(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def _child(self, module: str) -> int:
        for pid in self.processes():
            if f"millhand.cli.{module}" in _command_of(pid):
                return pid
        raise AssertionError(f"there is no {module} process; the service said:\n{self.output}")


class _Output:
    """The lines of a process, read by a thread that ends with the last process that holds the pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout
        self._lines: list[str] = []
        self._ended = False
        self._said = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="service-output", daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        with self._said:
            return list(self._lines)

    def wait_for(self, pattern: str, timeout: float, times: int) -> str:
        deadline = time.monotonic() + timeout
        with self._said:
            while True:
                found = [line for line in self._lines if re.search(pattern, line)]
                if len(found) >= times:
                    return found[times - 1]
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "it ended" if self._ended else f"within {timeout:g} s"
                    said = "\n".join(self._lines)
                    raise AssertionError(f"{pattern!r} was not said ({why}); this was:\n{said}")
                self._said.wait(left)

    def close(self) -> None:
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            with self._said:
                self._lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - /proc changes under iterdir


def _is_alive_in_session(pid: int, session: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, _, _, in_session, *_ = status.rpartition(")")[2].split()
    return int(in_session) == session and state not in "ZX"


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
