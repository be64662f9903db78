"""The demo jobs that fetch and fail, through HTTP, and what a try that failed looks like from outside."""

from __future__ import annotations

import http.server
import threading

import pytest

from tests.service.service import Service

pytestmark = pytest.mark.slow
PAGE = b"millhand " * 1000

STUBBORN = """
from millhand.jobs import Jobs
from millhand.policy import Backoff, Retry

jobs = Jobs("sqlite:///millhand.db")


@jobs.register(retry=Retry(backoff=Backoff(base=600.0)), max_attempts=3)
def stubborn() -> None:
    raise OSError("not today")
"""


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/page"
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(PAGE) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(PAGE)

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_fetch_tells_status_size_and_time(service, site):
    job = service.wait_for(service.submit("fetch", {"url": f"{site}/page"}))

    assert job["state"] == "completed"
    assert (job["result"]["status"], job["result"]["size"]) == (200, len(PAGE))
    assert 0 < job["result"]["seconds"] < 10


def test_a_page_that_is_not_there_fails_the_job_that_has_one_attempt(service, site):
    job = service.wait_for(service.submit("fetch", {"url": f"{site}/nowhere"}, max_attempts=1))

    assert (job["state"], job["error"]["type"]) == ("failed", "HTTPError")
    assert "404" in job["error"]["message"]


def test_a_job_that_raises_in_its_only_attempt_is_failed_with_its_traceback(service):
    job = service.wait_for(service.submit("fail", {"message": "as told"}, max_attempts=1))

    assert (job["state"], job["attempt"], job["result"]) == ("failed", 1, None)
    assert (job["error"]["type"], job["error"]["message"]) == ("RuntimeError", "as told")
    assert "raise RuntimeError(message)" in job["error"]["traceback"]
    assert "run_once" not in job["error"]["traceback"]


def test_a_job_that_raises_with_attempts_left_waits_for_its_next_one(tmp_path):
    (tmp_path / "program.py").write_text(STUBBORN)
    with Service(tmp_path, "program:jobs") as service:
        id = service.submit("stubborn")

        job = service.wait_for_state(id, "scheduled", "failed")

    assert (job["state"], job["attempt"], job["max_attempts"]) == ("scheduled", 1, 3)
    assert job["error"]["message"] == "not today"
    assert job["run_at"] > job["submitted_at"]
    assert job["finished_at"] is None


def test_a_job_that_raises_is_tried_until_its_attempts_are_spent(service):
    job = service.wait_for(service.submit("fail", max_attempts=2))

    assert (job["state"], job["attempt"]) == ("failed", 2)
