"""kill -9 of each of the three processes, one at a time: what is left goes on, and what died comes back."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest

from tests.service.probes import Probes
from tests.service.service import Service, free_port, wait_for_end_of

pytestmark = pytest.mark.slow
AGAIN_WITHIN = 3.0
"""Seconds until the jobs of a process that was killed run again (design, section 5.3)."""


def begin_sleep(service, seconds, **options):
    """Submit a job that takes this long, and return it once it runs."""
    return service.wait_for_state(service.submit("sleep", {"seconds": seconds}, **options), "processing")


def wait_until_run_elsewhere(service, before):
    """Return the job once another runner than before has it, or had it."""
    deadline = time.monotonic() + 10.0
    while (job := service.get(before["id"]))["runner"] in {None, before["runner"]}:
        assert time.monotonic() < deadline, job
    return job


def connect_again(base):
    """Return the first answer of a service that is not there yet."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            return httpx.get(f"{base}/livez", timeout=5.0, trust_env=False)
        except httpx.TransportError:
            pass
    raise AssertionError(f"nobody came back to {base}")


def test_the_jobs_of_a_killed_runner_run_again_soon_and_http_answers_all_along(tmp_path):
    with Service(tmp_path, "--worker-count", "4") as service:
        running = [begin_sleep(service, 0.5) for _ in range(3)]
        with Probes(service.port) as probes:
            killed = time.monotonic()
            os.kill(service.runner, signal.SIGKILL)
            meanwhile = [service.submit("echo") for _ in range(20)]
            wait_until_run_elsewhere(service, running[0])
            again = time.monotonic() - killed
            jobs = [service.wait_for(id) for id in [*(job["id"] for job in running), *meanwhile]]

        assert again < AGAIN_WITHIN
        assert {(job["state"], job["attempt"]) for job in jobs} == {("completed", 1)}
        assert len(probes.took) >= 10
        assert not probes.errors
        service.wait_for_line("runner ended with signal SIGKILL; it is started again")
        assert service.stop() == 0


def test_a_killed_http_process_comes_back_and_running_jobs_do_not_notice(tmp_path):
    with Service(tmp_path, "--http-port", str(free_port())) as service:
        running = begin_sleep(service, 1.0)
        runner = service.runner

        os.kill(service.http, signal.SIGKILL)

        assert connect_again(service.base).status_code == 200
        assert service.get(running["id"])["runner"] == running["runner"]
        job = service.wait_for(running["id"])
        assert (job["state"], job["attempt"], job["runner"]) == ("completed", 1, running["runner"])
        assert service.runner == runner
        service.wait_for_line("http ended with signal SIGKILL; it is started again")
        assert service.stop() == 0


def test_a_port_that_was_chosen_freely_stays_when_the_http_process_is_killed(tmp_path):
    """With --http-port 0 the process that came back took another free port, and nobody was told which."""
    with Service(tmp_path, "--http-port", "0") as service:
        os.kill(service.http, signal.SIGKILL)

        assert connect_again(service.base).status_code == 200


def test_a_killed_supervisor_leaves_no_orphans(tmp_path):
    with Service(tmp_path) as service:
        begin_sleep(service, 30.0)
        http, runner = service.http, service.runner
        killed = time.monotonic()

        os.kill(service.supervisor, signal.SIGKILL)

        assert wait_for_end_of(http, 2.0)
        assert wait_for_end_of(runner, 2.0 - (time.monotonic() - killed))
        service.process.wait()
        assert service.processes() == []


def test_what_a_killed_service_was_doing_is_done_by_the_next(tmp_path):
    with Service(tmp_path) as service:
        running = begin_sleep(service, 0.3)
        waiting = service.submit("echo", delay=0.2)
        for pid in service.processes():
            os.kill(pid, signal.SIGKILL)

    with Service(tmp_path) as service:
        ready = time.monotonic()
        wait_until_run_elsewhere(service, running)
        again = time.monotonic() - ready
        jobs = [service.wait_for(id) for id in (running["id"], waiting)]

    assert again < AGAIN_WITHIN
    assert {(job["state"], job["attempt"]) for job in jobs} == {("completed", 1)}
