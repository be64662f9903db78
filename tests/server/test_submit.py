"""POST /jobs."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millhand.core.errors import QueueFull, StoreError
from millhand.jobs import Jobs
from tests.server.conftest import MakeFace
from tests.server.face import Face, Gate, StubbornJobs

GOOD = b'{"type":"double","payload":{"n":1}}'


def body_of(problem_or_job: object) -> bytes:
    return json.dumps(problem_or_job).encode()


def test_an_accepted_job_is_in_the_store_when_the_answer_comes(face: Face, jobs: Jobs) -> None:
    answer = face.ask("POST", "/jobs", json={"type": "double", "payload": {"n": 21}})

    id = answer.json()["job_id"]
    assert (answer.status_code, answer.json()) == (202, {"job_id": id, "status": "accepted"})
    assert answer.headers["location"] == f"/jobs/{id}"
    assert jobs.store.reading.get(id).payload == '{"n": 21}'.replace(" ", "")


def test_any_content_type_is_taken_as_json(face: Face) -> None:
    answer = face.ask("POST", "/jobs", content=GOOD, headers={"content-type": "application/x-www-form-urlencoded"})

    assert answer.status_code == 202


def test_options_reach_the_job(face: Face, jobs: Jobs) -> None:
    id = face.submit(queue="mail", priority=3, delay="5m", timeout=2.5, max_attempts=7)

    job = jobs.store.reading.get(id)
    assert (job.queue, job.priority, job.timeout, job.max_attempts) == ("mail", 3, 2.5, 7)
    assert job.run_at - job.submitted_at == pytest.approx(300)


def test_a_payload_left_out_means_no_arguments(face: Face, jobs: Jobs) -> None:
    answer = face.ask("POST", "/jobs", json={"type": "any-thing"})

    assert jobs.store.reading.get(answer.json()["job_id"]).payload == "{}"


def test_the_location_holds_the_prefix_that_the_app_is_mounted_under(face: Face) -> None:
    import httpx
    from starlette.applications import Starlette
    from starlette.routing import Mount

    outer = Starlette(routes=[Mount("/queue", face.app)])

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://x") as client:
            posted = await client.post("/queue/jobs", content=GOOD)
            return [posted, await client.get(posted.headers["location"]), await client.get("/queue/nothing")]

    posted, read, missing = face.run(ask())
    assert posted.headers["location"].startswith("/queue/jobs/")
    assert (read.status_code, missing.status_code) == (200, 404)
    assert missing.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status", "name", "path"),
    [
        (b"", 400, "malformed-body", None),
        (b"{", 400, "malformed-body", None),
        (b'{"type":"\xff"}', 400, "malformed-body", None),
        (b'{"type":"double","payload":' + b"[" * 100_000, 400, "malformed-body", None),
        (b"[]", 422, "bad-request", "$"),
        (b"{}", 422, "bad-request", "$.type"),
        (b'{"type":""}', 422, "bad-request", "$.type"),
        (b'{"type":"double","colour":1}', 422, "bad-request", "$.colour"),
        (b'{"type":"double","priority":"high"}', 422, "bad-request", "$.priority"),
        (b'{"type":"double","max_attempts":0}', 422, "bad-request", "$.max_attempts"),
        (b'{"type":"double","payload":[1],"delay":"soon"}', 422, "bad-request", "$.delay"),
        (b'{"type":"double","payload":[1],"timeout":0}', 422, "bad-request", "$.timeout"),
        (b'{"type":"unheard-of"}', 422, "unknown-job-type", "$.type"),
        (b'{"type":"double","payload":{"n":"x"}}', 422, "bad-arguments", "$.payload.n"),
        (b'{"type":"double"}', 422, "bad-arguments", "$.payload"),
        (b'{"type":"double","payload":7}', 422, "bad-arguments", "$.payload"),
        (b'{"type":"any-x","payload":{"n":"\xff"}}', 422, "bad-arguments", "$.payload"),
    ],
)
def test_a_bad_body_is_refused_with_the_field_and_changes_nothing(
    face: Face, jobs: Jobs, body: bytes, status: int, name: str, path: str | None
) -> None:
    answer = face.ask("POST", "/jobs", content=body)

    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"urn:millhand:problem:{name}")
    assert (problem["status"], problem.get("path"), problem["retryable"]) == (status, path, False)
    assert answer.headers["content-type"] == "application/problem+json"
    assert sum(jobs.store.reading.counts().values()) == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(body_of),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["double", "any-x", "no"]) | json_values},
        optional={
            "payload": json_values,
            "queue": json_values,
            "priority": json_values,
            "delay": json_values | st.sampled_from(["1s", "2m"]),
            "timeout": json_values | st.sampled_from(["1s", "2m"]),
            "max_attempts": json_values,
            "more": json_values,
        },
    ).map(body_of),
)


@pytest.mark.slow
def test_no_body_whatsoever_makes_the_server_fail(face: Face) -> None:
    @settings(max_examples=300, deadline=None, database=None)
    @given(body=bodies)
    def post(body: bytes) -> None:
        answer = face.ask("POST", "/jobs", content=body)

        assert answer.status_code in {202, 400, 422}, answer.text
        assert "Traceback" not in answer.text

    post()


def test_a_body_announced_too_long_is_refused_unread(make_face: MakeFace) -> None:
    face = make_face(max_body=10)

    assert face.call([], headers=[(b"content-length", b"11")]) == 413


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")], [(b"content-length", b"five")]])
def test_a_body_that_turns_out_too_long_is_refused(make_face: MakeFace, headers: list[tuple[bytes, bytes]]) -> None:
    face = make_face(max_body=10)
    chunk = {"type": "http.request", "body": b"123456", "more_body": True}

    assert face.call([chunk, chunk], headers) == 413


def test_a_body_in_pieces_is_put_together(face: Face) -> None:
    first = {"type": "http.request", "body": GOOD[:9], "more_body": True}
    rest = {"type": "http.request", "body": GOOD[9:], "more_body": False}

    assert face.call([first, rest]) == 202


def test_a_complete_body_is_not_waited_for_any_longer(face: Face) -> None:
    whole = {"type": "http.request", "body": GOOD, "more_body": True}

    assert face.call([whole], headers=[(b"content-length", b"%d" % len(GOOD))]) == 202


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
def test_a_client_that_leaves_amid_its_body_has_submitted_nothing(
    face: Face, jobs: Jobs, headers: list[tuple[bytes, bytes]]
) -> None:
    piece = {"type": "http.request", "body": b"{", "more_body": True}

    status = face.call([*([] if headers else [piece]), {"type": "http.disconnect"}], headers)

    assert status == 400
    assert sum(jobs.store.reading.counts().values()) == 0


def test_a_body_that_does_not_come_in_time_is_408(make_face: MakeFace) -> None:
    face = make_face(http_timeout=0.05)

    assert face.call([{"type": "http.request", "body": b"{", "more_body": True}]) == 408


def test_a_commit_that_does_not_come_in_time_is_503(make_face: MakeFace, jobs: Jobs) -> None:
    gate = Gate(jobs.store.intake.enqueue)
    face = make_face(StubbornJobs(jobs, intake={"enqueue": gate.enqueue}), http_timeout=0.05)

    answer = face.ask("POST", "/jobs", content=GOOD)

    gate.opened.set()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:millhand:problem:answer-too-late")
    assert answer.json()["retryable"] is True


def test_only_the_oldest_requests_run_out_of_time(make_face: MakeFace) -> None:
    face = make_face(http_timeout=0.1)
    piece = {"type": "http.request", "body": b"{", "more_body": True}

    async def two_in_turn() -> list[int]:
        first = asyncio.create_task(face.exchange([dict(piece)], ()))
        await asyncio.sleep(0.03)
        second = asyncio.create_task(face.exchange([dict(piece)], ()))
        return [await first, await second]

    assert face.run(two_in_turn()) == [408, 408]


def test_a_request_cancelled_from_outside_stays_cancelled(face: Face) -> None:
    async def cancel() -> bool:
        task = asyncio.create_task(face.exchange([], ()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        return isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)

    assert face.run(cancel())


def test_a_store_that_refuses_is_503_and_retryable(make_face: MakeFace, jobs: Jobs) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise StoreError("disk full: /secret")

    face = make_face(StubbornJobs(jobs, intake={"enqueue": refuse}))

    answer = face.ask("POST", "/jobs", content=GOOD)

    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert "secret" not in answer.text


def test_a_failure_that_nobody_foresaw_is_500_and_only_the_log_tells_more(
    make_face: MakeFace, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("hunter2")

    face = make_face(StubbornJobs(jobs, intake={"enqueue": fail}))

    answer = face.ask("POST", "/jobs", content=GOOD)

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


def test_a_full_queue_refuses_after_the_wait_and_says_when_to_come_back(make_face: MakeFace) -> None:
    face = make_face(queue_size=1, room_wait=0.01)
    face.submit()

    answer = face.ask("POST", "/jobs", content=GOOD)

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:millhand:problem:queue-full")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_full_queue_refuses_at_once_when_nobody_may_wait(make_face: MakeFace) -> None:
    face = make_face(queue_size=1, room_wait=0)
    face.submit()

    assert face.ask("POST", "/jobs", content=GOOD).status_code == 503


def test_a_submit_waits_for_room_and_gets_it(make_face: MakeFace, jobs: Jobs) -> None:
    full = asyncio.Event()
    face = make_face(None, queue_size=1)
    first = face.submit()

    async def submit_and_make_room() -> int:
        waiting = asyncio.create_task(face.client.post("/jobs", content=GOOD))
        while not face.app.waiting:
            await asyncio.sleep(0)
        full.set()
        jobs.store.control.cancel(first)
        return (await waiting).status_code

    assert face.run(submit_and_make_room()) == 202


def test_those_who_wait_for_room_get_it_in_their_order(make_face: MakeFace, jobs: Jobs) -> None:
    face = make_face(queue_size=1, room_wait=0.2)
    first = face.submit()

    async def three_for_one_place() -> list[int]:
        waiting = []
        for n in range(3):
            waiting.append(asyncio.create_task(face.client.post("/jobs", content=GOOD)))
            while face.app.waiting <= n:
                await asyncio.sleep(0)
        jobs.store.control.cancel(first)
        return [answer.status_code for answer in await asyncio.gather(*waiting)]

    assert face.run(three_for_one_place()) == [202, 503, 503]


def test_a_store_that_fails_while_jobs_wait_for_room_tells_them(make_face: MakeFace, jobs: Jobs) -> None:
    answers: list[object] = [[QueueFull(1, 1)], StoreError("gone")]

    def enqueue(batch: object, *, limit: int | None) -> object:
        answer = answers.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    face = make_face(StubbornJobs(jobs, intake={"enqueue": enqueue}))

    answer = face.ask("POST", "/jobs", content=GOOD)

    assert answer.json()["type"] == "urn:millhand:problem:store-unavailable"


def test_a_request_that_ends_while_it_waits_for_room_leaves_the_line(make_face: MakeFace) -> None:
    face = make_face(queue_size=1)
    face.submit()

    async def leave() -> int:
        waiting = asyncio.create_task(face.client.post("/jobs", content=GOOD))
        while not face.app.waiting:
            await asyncio.sleep(0)
        waiting.cancel()
        while face.app.waiting:
            await asyncio.sleep(0.001)
        return face.app.waiting

    assert face.run(leave()) == 0


def test_beyond_a_number_of_waiting_requests_more_are_refused_at_once(make_face: MakeFace, jobs: Jobs) -> None:
    gate = Gate(jobs.store.intake.enqueue)
    face = make_face(StubbornJobs(jobs, intake={"enqueue": gate.enqueue}), max_waiting=2)

    async def crowd() -> list[int]:
        first = asyncio.create_task(face.client.post("/jobs", content=GOOD))
        while not gate.reached.is_set():
            await asyncio.sleep(0)
        others = [asyncio.create_task(face.client.post("/jobs", content=GOOD)) for _ in range(2)]
        while face.app.waiting < 2:
            await asyncio.sleep(0)
        refused = await face.client.post("/jobs", content=GOOD)
        gate.opened.set()
        return [refused.status_code, *(answer.status_code for answer in await asyncio.gather(first, *others))]

    assert face.run(crowd()) == [503, 202, 202, 202]


def test_requests_that_come_during_a_commit_share_the_next_one(make_face: MakeFace, jobs: Jobs) -> None:
    gate = Gate(jobs.store.intake.enqueue)
    face = make_face(StubbornJobs(jobs, intake={"enqueue": gate.enqueue}))

    async def crowd() -> None:
        first = asyncio.create_task(face.client.post("/jobs", content=GOOD))
        while not gate.reached.is_set():
            await asyncio.sleep(0)
        others = [asyncio.create_task(face.client.post("/jobs", content=GOOD)) for _ in range(20)]
        while face.app.waiting < 20:
            await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(first, *others)

    face.run(crowd())
    assert gate.batches == [1, 20]
