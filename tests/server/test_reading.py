"""GET /jobs, GET /jobs/{id}, waiting, cancelling, and what every route has in common."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from millhand.core.errors import StoreError
from millhand.core.job import JobState
from millhand.jobs import Jobs
from millhand.jobs.store import Ending
from tests.server.conftest import MakeFace
from tests.server.face import Face, StubbornJobs

NOBODY = "01890000-0000-7000-8000-000000000000"


def finish(jobs: Jobs, id: str) -> None:
    jobs.store.housekeeping.announce("tester", lease=60.0)
    held = {job.id: job for job in jobs.store.claims.claim("tester", room=100, types=["double", "any-*"]).jobs}
    jobs.store.claims.finish([Ending(id, held[id].token, JobState.COMPLETED, result="42")])


def test_a_job_is_told_as_it_stands(face: Face) -> None:
    id = face.submit(queue="mail", priority=2)

    job = face.ask("GET", f"/jobs/{id}").json()

    assert (job["id"], job["type"], job["state"], job["queue"], job["priority"]) == (id, "double", "pending", "mail", 2)
    assert (job["payload"], job["result"], job["attempt"]) == ({"n": 21}, None, 0)


@pytest.mark.parametrize(
    "path", [f"/jobs/{NOBODY}", "/jobs/x", f"/jobs/{'x' * 500}", "/jobs/%C3%A4", f"/jobs/{NOBODY}?wait=1"]
)
def test_a_job_that_is_not_there_is_404(face: Face, path: str) -> None:
    answer = face.ask("GET", path)

    assert (answer.status_code, answer.json()["type"]) == (404, "urn:millhand:problem:job-not-found")


def test_many_readers_at_once_each_get_their_own_job(face: Face) -> None:
    ids = [face.submit(payload=[n]) for n in range(12)]

    async def read_all() -> list[Any]:
        answers = await asyncio.gather(*(face.client.get(f"/jobs/{id}") for id in ids * 3))
        return [answer.json()["payload"]["n"] for answer in answers]

    assert face.run(read_all()) == [*range(12)] * 3


def test_a_long_poll_answers_as_soon_as_the_job_has_ended(face: Face, jobs: Jobs) -> None:
    id = face.submit()

    async def wait_and_finish() -> Any:
        waiting = asyncio.create_task(face.client.get(f"/jobs/{id}?wait=10s"))
        while not face.app.polls:
            await asyncio.sleep(0)
        await asyncio.to_thread(finish, jobs, id)
        return (await waiting).json()

    job = face.run(wait_and_finish())
    assert (job["state"], job["result"]) == ("completed", 42)


def test_a_long_poll_for_an_ended_job_answers_at_once(face: Face, jobs: Jobs) -> None:
    id = face.submit()
    finish(jobs, id)

    assert face.ask("GET", f"/jobs/{id}?wait=60s").json()["state"] == "completed"


@pytest.mark.parametrize("wait", ["0", "10ms"])
def test_a_long_poll_answers_after_its_wait_with_the_state_as_it_is(face: Face, wait: str) -> None:
    id = face.submit()

    assert face.ask("GET", f"/jobs/{id}?wait={wait}").json()["state"] == "pending"


def test_long_polls_are_answered_when_the_server_wants_to_stop(face: Face) -> None:
    id = face.submit()

    async def wait_and_stop() -> Any:
        waiting = asyncio.create_task(face.client.get(f"/jobs/{id}?wait=60s"))
        while not face.app.polls:
            await asyncio.sleep(0)
        face.app.answer_polls()
        face.app.answer_polls()
        return (await waiting).json()

    assert face.run(wait_and_stop())["state"] == "pending"


def test_a_long_poll_ends_when_its_client_leaves(face: Face) -> None:
    id = face.submit()

    async def leave() -> int:
        messages = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "GET", "path": f"/jobs/{id}", "query_string": b"wait=60s", "headers": []}
        await face.app(scope, receive, send)
        return face.app.polls

    assert face.run(leave()) == 0


def test_a_long_poll_goes_on_when_the_wish_cannot_be_kept(make_face: MakeFace, jobs: Jobs) -> None:
    class NoWatch:
        def when_ended(self, id: str, callback: object) -> None:
            raise StoreError("gone")

    stubborn = StubbornJobs(jobs)
    stubborn.watch = NoWatch()  # type: ignore[attr-defined]  # a double of Jobs holds what it is given
    face = make_face(stubborn)
    id = face.submit()

    assert face.ask("GET", f"/jobs/{id}?wait=20ms").json()["state"] == "pending"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/jobs?state=lost", "state"),
        ("/jobs?limit=0", "limit"),
        ("/jobs?limit=201", "limit"),
        ("/jobs?limit=many", "limit"),
        ("/jobs?limit=", "limit"),
        ("/jobs?colour=red", "colour"),
        (f"/jobs/{NOBODY}?wait=soon", "wait"),
        (f"/jobs/{NOBODY}?wait=-1", "wait"),
        (f"/jobs/{NOBODY}?weight=1", "weight"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(face: Face, path: str, field: str) -> None:
    answer = face.ask("GET", path)

    assert (answer.status_code, answer.json()["path"]) == (422, field)


def test_jobs_are_listed_newest_first_in_pages(face: Face) -> None:
    ids = [face.submit() for _ in range(3)]

    first = face.ask("GET", "/jobs?limit=2").json()
    second = face.ask("GET", f"/jobs?limit=2&cursor={first['next_cursor']}").json()

    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_jobs_are_listed_by_state_and_type(face: Face, jobs: Jobs) -> None:
    done, _, other = face.submit(), face.submit(), face.submit("any-x", None)
    finish(jobs, done)

    completed = face.ask("GET", "/jobs?state=completed").json()["jobs"]
    of_type = face.ask("GET", "/jobs?type=any-x").json()["jobs"]

    assert ([job["id"] for job in completed], [job["id"] for job in of_type]) == ([done], [other])


def test_a_waiting_job_is_cancelled(face: Face) -> None:
    id = face.submit()

    answer = face.ask("POST", f"/jobs/{id}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_a_job_that_had_ended_cannot_be_cancelled(face: Face, jobs: Jobs) -> None:
    id = face.submit()
    finish(jobs, id)

    answer = face.ask("POST", f"/jobs/{id}/cancel")

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:millhand:problem:already-ended")


def test_a_job_that_ends_while_it_is_cancelled_had_ended(make_face: MakeFace, jobs: Jobs) -> None:
    def end_first(id: str) -> Any:
        finish(jobs, id)
        return jobs.store.reading.get(id)

    face = make_face(StubbornJobs(jobs, control={"cancel": end_first}))
    id = face.submit()

    assert face.ask("POST", f"/jobs/{id}/cancel").status_code == 409


def test_a_running_job_is_asked_to_stop(face: Face, jobs: Jobs) -> None:
    id = face.submit()
    jobs.store.housekeeping.announce("tester", lease=60.0)
    jobs.store.claims.claim("tester", room=1, types=["double"])

    job = face.ask("POST", f"/jobs/{id}/cancel").json()

    assert (job["state"], job["cancel_requested"]) == ("processing", True)


@pytest.mark.parametrize("path", ["/", "/nothing", "/jobs/", "/jobs/x/y", "/livez/"])
def test_an_unknown_path_is_a_404_problem(face: Face, path: str) -> None:
    answer = face.ask("GET", path)

    assert (answer.status_code, answer.json()["type"]) == (404, "urn:millhand:problem:route-not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/jobs", "GET, HEAD, POST"),
        ("PUT", "/jobs/x", "GET, HEAD"),
        ("GET", "/jobs/x/cancel", "POST"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(face: Face, method: str, path: str, allowed: str) -> None:
    answer = face.ask(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["type"] == "urn:millhand:problem:method-not-allowed"


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/{id}", "/jobs/{id}?wait=0", "/livez", "/readyz", "/health", "/metrics"]
)
def test_head_answers_like_get_without_the_body(face: Face, path: str) -> None:
    path = path.replace("{id}", face.submit())

    got, headed = face.ask("GET", path), face.ask("HEAD", path)

    assert (headed.status_code, headed.content) == (got.status_code, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert int(headed.headers["content-length"]) > 0


def test_a_cold_route_that_takes_too_long_is_503(make_face: MakeFace, jobs: Jobs) -> None:
    opened = threading.Event()

    def hang(**query: object) -> object:
        assert opened.wait(10)
        return jobs.store.reading.find()

    face = make_face(StubbornJobs(jobs, reading={"find": hang}), http_timeout=0.05)

    answer = face.ask("GET", "/jobs")

    opened.set()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:millhand:problem:answer-too-late")


def test_a_client_that_breaks_off_amid_an_answer_gets_no_second_one(face: Face) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            raise OSError("gone")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/livez", "query_string": b"", "headers": []}
    with pytest.raises(OSError, match="gone"):
        face.run(face.app(scope, receive, send))

    assert sent == ["http.response.start", "http.response.body"]


def test_an_app_served_by_another_server_takes_part_in_its_lifespan(face: Face) -> None:
    messages, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    face.run(face.app({"type": "lifespan"}, receive, send))

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_websocket_is_declined(face: Face) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    face.run(face.app({"type": "websocket"}, receive, send))

    assert sent == ["websocket.close"]


def test_after_close_a_submit_is_refused_as_retryable(face: Face) -> None:
    face.submit()
    face.app.close()

    answer = face.ask("POST", "/jobs", json={"type": "double", "payload": [1]})

    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
