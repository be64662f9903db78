"""The bodies of requests and answers."""

from __future__ import annotations

import msgspec
import pytest

from millhand.core.errors import ErrorInfo
from millhand.core.job import Job, JobState
from millhand.wire import BadRequest, JobBody, SubmitBody, iso

decode = msgspec.json.Decoder(SubmitBody).decode


def job(**changes: object) -> Job:
    fields: dict[str, object] = {
        "id": "x",
        "type": "resize",
        "state": JobState.PENDING,
        "queue": "default",
        "priority": 0,
        "attempt": 0,
        "max_attempts": 5,
        "token": 7,
        "payload": '{"size":3}',
        "submitted_at": 0.25,
        "run_at": 1.0,
    }
    return Job(**{**fields, **changes})  # type: ignore[arg-type]  # the fields come as a mapping


def test_durations_are_taken_as_numbers_and_as_text() -> None:
    body = decode(b'{"type":"a","delay":2,"timeout":"5m"}')

    assert (body.delay_seconds(), body.timeout_seconds()) == (2.0, 300.0)


def test_durations_left_out_stay_out() -> None:
    body = decode(b'{"type":"a"}')

    assert (body.delay_seconds(), body.timeout_seconds()) == (None, None)


@pytest.mark.parametrize("timeout", [0, "0s", -1, "soon", 1e300, "9999999d"])
def test_a_timeout_that_makes_no_sense_is_blamed_on_its_field(timeout: str | float) -> None:
    body = SubmitBody(type="a", timeout=timeout)

    with pytest.raises(BadRequest) as caught:
        body.timeout_seconds()

    assert caught.value.path == "$.timeout"


def test_a_delay_of_centuries_is_refused() -> None:
    with pytest.raises(BadRequest, match="hundred years"):
        SubmitBody(type="a", delay="99999d").delay_seconds()


def test_payload_and_result_are_real_json() -> None:
    body = msgspec.json.decode(msgspec.json.encode(JobBody.of(job(result="[1,2]"))))

    assert (body["payload"], body["result"]) == ({"size": 3}, [1, 2])


def test_a_job_that_has_not_ended_has_neither_result_nor_error_nor_end() -> None:
    body = msgspec.json.decode(msgspec.json.encode(JobBody.of(job())))

    assert (body["result"], body["error"], body["started_at"], body["finished_at"]) == (None, None, None, None)


def test_a_failed_job_tells_what_was_raised_and_when() -> None:
    failed = job(error=ErrorInfo("KeyError", "'x'", "Traceback"), started_at=2.0, finished_at=3.5)

    body = msgspec.json.decode(msgspec.json.encode(JobBody.of(failed)))

    assert body["error"] == {"type": "KeyError", "message": "'x'", "traceback": "Traceback"}
    assert (body["started_at"], body["finished_at"]) == ("1970-01-01T00:00:02.000Z", "1970-01-01T00:00:03.500Z")


def test_the_fencing_token_is_nobodys_business() -> None:
    assert b"token" not in msgspec.json.encode(JobBody.of(job()))


def test_instants_are_iso_8601_in_utc_with_milliseconds() -> None:
    assert iso(1_769_860_800.25) == "2026-01-31T12:00:00.250Z"
