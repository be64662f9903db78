"""A service that is told to stop: in order, within bounds, and without losing what it acknowledged."""

from __future__ import annotations

import http.client
import json
import signal
import time

import httpx
import pytest

from millhand.core.job import JobState
from tests.service.clients import BROKEN, REFUSED, RESET, Clients
from tests.service.service import Service, wait_for_end_of

pytestmark = pytest.mark.slow


def states(service):
    with service.open_jobs() as jobs:
        return {job.id: job for job in jobs.store.reading.find(state=None, type=None, limit=10_000).jobs}


def runners(service):
    with service.open_jobs() as jobs:
        return jobs.store.reading.runners()


def begin_sleep(service, seconds):
    """Submit a job that takes this long, and return its id once it runs."""
    id = service.submit("sleep", {"seconds": seconds})
    service.wait_for_state(id, "processing")
    return id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_nothing_that_was_acknowledged(tmp_path, number):
    with Service(tmp_path, "--worker-count", "4", "--grace", "10") as service:
        running = [begin_sleep(service, 1.2) for _ in range(3)]
        with Clients(service.port, 6, type="sleep", payload={"seconds": 0.01}) as clients:
            clients.wait_until_acknowledged(60)
            signalled = time.monotonic()

            code = service.stop(number)

        print(clients.summary())
        kept = states(service)
        assert code == 0
        assert service.processes() == []
        assert not runners(service)
        assert not clients.others(BROKEN)
        assert all(when >= signalled for when, _, _ in clients.others(REFUSED, RESET))
        assert set(clients.acknowledged) <= kept.keys()
        assert {(kept[id].state, kept[id].attempt) for id in running} == {(JobState.COMPLETED, 1)}
        others = {(job.state, job.attempt) for id, job in kept.items() if id not in running}
        assert others <= {(JobState.COMPLETED, 1), (JobState.PENDING, 0)}
        assert "ERROR" not in service.output


def test_it_stops_in_order(tmp_path):
    """Readyz red while requests are still taken; then no more; then running jobs end; then the rest."""
    with Service(tmp_path, "--worker-count", "1", "--drain-delay", "0.3") as service:
        http, runner = service.http, service.runner
        running, waiting = begin_sleep(service, 1.5), service.submit("echo")
        assert service.client.get("/readyz").status_code == 200

        service.send(signal.SIGTERM)

        while (ready := service.client.get("/readyz")).status_code == 200:
            pass
        assert ready.json()["checks"]["draining"] == "yes"
        late = service.submit("echo")
        assert wait_for_end_of(http, 10.0)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{service.base}/livez", trust_env=False)
        assert states(service)[running].state is JobState.PROCESSING
        assert not wait_for_end_of(runner, 0.0)
        assert wait_for_end_of(runner, 10.0)
        assert service.wait() == 0
        after = states(service)
        assert (after[running].state, after[running].attempt) == (JobState.COMPLETED, 1)
        assert {(after[id].state, after[id].attempt) for id in (waiting, late)} == {(JobState.PENDING, 0)}


def test_a_long_poll_is_answered_when_the_service_stops(tmp_path):
    with Service(tmp_path, "--grace", "0") as service:
        running = begin_sleep(service, 30.0)
        poll = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10.0)
        poll.request("GET", f"/jobs/{running}?wait=30s")
        service.get(running)  # the poll came before this, so it is being waited on by now

        service.send(signal.SIGTERM)
        answer = poll.getresponse()
        job = json.load(answer)

        assert (answer.status, job["state"]) == (200, "processing")
        assert service.wait() == 0
    poll.close()


def test_jobs_that_outlast_the_grace_are_given_back_uncounted(tmp_path):
    with Service(tmp_path, "--worker-count", "2", "--grace", "0.3") as service:
        ids = [begin_sleep(service, 30.0) for _ in range(2)]
        began = time.monotonic()

        code = service.stop()

        after = states(service)
        assert code == 0
        assert 0.3 <= time.monotonic() - began < 5.0
        assert {(after[id].state, after[id].attempt, after[id].runner) for id in ids} == {(JobState.PENDING, 0, None)}
        assert not runners(service)


def test_a_second_signal_hurries_and_gives_running_jobs_back_uncounted(tmp_path):
    with Service(tmp_path, "--worker-count", "2") as service:
        http, runner = service.http, service.runner
        ids = [begin_sleep(service, 30.0) for _ in range(2)]
        service.send(signal.SIGTERM)
        assert wait_for_end_of(http, 10.0)
        assert not wait_for_end_of(runner, 0.0)
        began = time.monotonic()

        code = service.stop()

        after = states(service)
        assert code == 0
        assert time.monotonic() - began < 2.0
        assert service.processes() == []
        assert {(after[id].state, after[id].attempt, after[id].runner) for id in ids} == {(JobState.PENDING, 0, None)}
        assert not runners(service)


def test_jobs_that_were_given_back_are_completed_by_the_next_service(tmp_path):
    with Service(tmp_path, "--grace", "0") as service:
        id = begin_sleep(service, 0.6)
        assert service.stop() == 0

    with Service(tmp_path) as service:
        job = service.wait_for(id)

    assert (job["state"], job["attempt"]) == ("completed", 1)


def test_a_service_that_does_nothing_stops_at_once(tmp_path):
    with Service(tmp_path) as service:
        began = time.monotonic()

        code = service.stop()

        assert code == 0
        assert time.monotonic() - began < 2.0
        assert service.processes() == []


def test_a_signal_during_the_start_ends_the_service_in_order(tmp_path):
    """A supervisor that was told to stop before a child had loaded sent `stop` where the child expected its
    orders: it ended with a KeyError, a traceback and exit code 1."""
    with Service(tmp_path, wait=False) as service:
        while len(service.processes()) < 3:
            assert service.process.poll() is None, service.output

        code = service.stop()

        assert "Traceback" not in service.output
        assert code == 0


STUCK = """
import threading
from millhand.jobs import Jobs

jobs = Jobs("sqlite:///millhand.db")


@jobs.register
def hang() -> None:
    threading.Event().wait()
"""


def test_a_job_that_never_returns_does_not_keep_the_service(tmp_path):
    (tmp_path / "program.py").write_text(STUCK)
    with Service(tmp_path, "program:jobs", "--grace", "0.2") as service:
        id = service.submit("hang")
        service.wait_for_state(id, "processing")
        began = time.monotonic()

        code = service.stop()

        job = states(service)[id]
        assert code == 0
        assert time.monotonic() - began < 3.0
        assert service.processes() == []
        assert (job.state, job.attempt) == (JobState.PENDING, 0)
