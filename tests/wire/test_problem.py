"""The one table from error class to status."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from millhand.core import errors
from millhand.wire import (
    TABLE,
    AlreadyEnded,
    AnswerTooLate,
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    MethodNotAllowed,
    Problem,
    RouteNotFound,
    problem_of,
)

EXAMPLES: dict[type[BaseException], tuple[BaseException, int, str, bool]] = {
    MalformedBody: (MalformedBody("cut"), 400, "malformed-body", False),
    msgspec.DecodeError: (msgspec.DecodeError("cut"), 400, "malformed-body", False),
    msgspec.ValidationError: (msgspec.ValidationError("bad - at `$.a`"), 422, "bad-request", False),
    BadRequest: (BadRequest("bad", "limit"), 422, "bad-request", False),
    errors.BadArguments: (errors.BadArguments("resize", "bad", "$.size"), 422, "bad-arguments", False),
    errors.UnknownJobType: (errors.UnknownJobType("x"), 422, "unknown-job-type", False),
    errors.JobNotFound: (errors.JobNotFound("x"), 404, "job-not-found", False),
    RouteNotFound: (RouteNotFound("/x"), 404, "route-not-found", False),
    MethodNotAllowed: (MethodNotAllowed("PUT", ["GET"]), 405, "method-not-allowed", False),
    BodyTooSlow: (BodyTooSlow(10.0), 408, "body-too-slow", True),
    AlreadyEnded: (AlreadyEnded("x", "failed"), 409, "already-ended", False),
    errors.IllegalMove: (errors.IllegalMove("x", "failed", "pending"), 409, "illegal-move", False),
    errors.LeaseLost: (errors.LeaseLost("x", 3), 409, "lease-lost", False),
    BodyTooLarge: (BodyTooLarge(10), 413, "body-too-large", False),
    errors.QueueFull: (errors.QueueFull(5, 5), 503, "queue-full", True),
    errors.StoreError: (errors.StoreError("disk of /secret/path"), 503, "store-unavailable", True),
    AnswerTooLate: (AnswerTooLate(10.0), 503, "answer-too-late", True),
}


def test_every_row_of_the_table_has_an_example() -> None:
    assert EXAMPLES.keys() == TABLE.keys()


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_each_error_has_its_status_name_and_retryability(kind: type[BaseException]) -> None:
    error, status, name, retryable = EXAMPLES[kind]

    problem = problem_of(error)

    assert (problem.status, problem.type, problem.retryable) == (status, f"urn:millhand:problem:{name}", retryable)
    assert problem.title
    assert problem.detail
    assert msgspec.json.decode(msgspec.json.encode(problem), type=Problem) == problem


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (errors.BadArguments("resize", "bad", "$.size"), "$.payload.size"),
        (errors.BadArguments("resize", "bad"), "$.payload"),
        (errors.UnknownJobType("x"), "$.type"),
        (BadRequest("bad", "limit"), "limit"),
        (msgspec.ValidationError("Expected `int`, got `str` - at `$.priority`"), "$.priority"),
        (msgspec.ValidationError("Object contains unknown field `colour`"), "$.colour"),
        (msgspec.ValidationError("Object missing required field `type`"), "$.type"),
        (errors.JobNotFound("x"), None),
    ],
)
def test_a_problem_names_the_field_that_is_to_blame(error: BaseException, path: str | None) -> None:
    assert problem_of(error).path == path


def test_an_error_that_nobody_foresaw_tells_nothing_of_the_inside() -> None:
    problem = problem_of(RuntimeError("password=hunter2"))

    assert (problem.status, problem.retryable) == (500, False)
    assert "hunter2" not in str(problem)


def test_a_store_error_does_not_tell_where_the_store_lies() -> None:
    assert "secret" not in problem_of(errors.StoreError("disk of /secret/path")).detail


@pytest.mark.parametrize("error", [row[0] for row in EXAMPLES.values()], ids=lambda error: type(error).__name__)
def test_every_error_crosses_processes(error: BaseException) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy)) == (type(error), str(error))
