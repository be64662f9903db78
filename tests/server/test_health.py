"""/livez, /readyz, /health, /metrics."""

from __future__ import annotations

import threading

import pytest

from millhand.core.errors import StoreError
from millhand.jobs import Jobs
from millhand.server import health_routes
from millhand.server.metrics import Histogram
from tests.server.conftest import MakeFace
from tests.server.face import Face, StubbornJobs


def no_store(*args: object, **kwargs: object) -> None:
    raise StoreError("gone")


@pytest.fixture
def storeless(make_face: MakeFace, jobs: Jobs) -> Face:
    return make_face(StubbornJobs(jobs, reading={"counts": no_store}))


def test_livez_is_ok_whatever_the_store_does(storeless: Face) -> None:
    answer = storeless.ask("GET", "/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readyz_says_yes_when_the_store_answers(face: Face) -> None:
    answer = face.ask("GET", "/readyz")

    assert (answer.status_code, answer.json()["checks"]) == (200, {"store": "ok", "draining": "no"})


def test_readyz_says_no_while_draining(face: Face) -> None:
    face.app.drain()

    answer = face.ask("GET", "/readyz")

    assert (answer.status_code, answer.json()["checks"]) == (503, {"store": "ok", "draining": "yes"})


def test_readyz_says_no_when_the_store_fails(storeless: Face) -> None:
    answer = storeless.ask("GET", "/readyz")

    assert (answer.status_code, answer.json()["checks"]["store"]) == (503, "no answer")


def test_readyz_does_not_wait_for_a_store_that_hangs(
    make_face: MakeFace, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, asked = threading.Event(), []

    def hang() -> object:
        asked.append(1)
        assert opened.wait(10)
        return jobs.store.reading.counts()

    monkeypatch.setattr(health_routes, "STORE_ANSWERS_WITHIN", 0.01)
    face = make_face(StubbornJobs(jobs, reading={"counts": hang}))

    statuses = [face.ask("GET", "/readyz").status_code for _ in range(3)]

    opened.set()
    assert (statuses, len(asked)) == ([503, 503, 503], 1)


def test_health_tells_counts_runners_version_and_uptime(face: Face, jobs: Jobs) -> None:
    face.submit()
    jobs.store.housekeeping.announce("tester", lease=60.0)

    answer = face.ask("GET", "/health")

    body = answer.json()
    assert (answer.status_code, body["status"], body["jobs"]["pending"], body["runners"]) == (200, "ok", 1, 1)
    assert body["version"]
    assert body["uptime"] >= 0


def test_health_says_that_it_drains(face: Face) -> None:
    face.app.drain()

    assert face.ask("GET", "/health").json()["status"] == "draining"


def test_health_is_503_without_a_store(storeless: Face) -> None:
    answer = storeless.ask("GET", "/health")

    assert (answer.status_code, answer.json()["status"], answer.json()["jobs"]) == (503, "unavailable", None)


def test_a_checkout_without_metadata_has_no_version(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise health_routes.PackageNotFoundError(name)

    monkeypatch.setattr(health_routes, "version", missing)

    assert face.ask("GET", "/health").json()["version"] == "unknown"


def test_metrics_tell_jobs_requests_and_batches(face: Face) -> None:
    face.submit()
    face.ask("GET", "/nothing")
    face.ask("BREW", "/jobs")

    answer = face.ask("GET", "/metrics")

    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'millhand_jobs{state="pending"} 1.0' in lines
    assert "millhand_stale_finishes_rejected_total 0.0" in lines
    assert 'millhand_http_requests_total{route="POST /jobs",status="202"} 1.0' in lines
    assert 'millhand_http_requests_total{route="other",status="404"} 1.0' in lines
    assert 'millhand_http_requests_total{route="other",status="405"} 1.0' in lines
    assert 'millhand_http_request_seconds_count{route="POST /jobs"} 1.0' in lines
    assert 'millhand_intake_batch_bucket{le="1"} 1.0' in lines


def test_metrics_speak_openmetrics_when_asked(face: Face) -> None:
    answer = face.ask("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_metrics_leave_the_store_out_when_it_fails(storeless: Face) -> None:
    answer = storeless.ask("GET", "/metrics")

    assert answer.status_code == 200
    assert "millhand_jobs" not in answer.text


def test_metrics_that_are_switched_off_are_not_there(make_face: MakeFace) -> None:
    assert make_face(metrics_enabled=False).ask("GET", "/metrics").status_code == 404


def test_a_histogram_counts_each_value_up_to_its_bound() -> None:
    histogram = Histogram((1, 2))

    for value in (1, 1.5, 2, 7):
        histogram.note(value)

    assert histogram.tell() == ([("1", 1.0), ("2", 3.0), ("+Inf", 4.0)], 11.5)
