"""Errors as HTTP says them: RFC 9457 problems, and the one table from error class to status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from millhand.codec.signature import split_path
from millhand.core.errors import (
    BadArguments,
    IllegalMove,
    JobNotFound,
    LeaseLost,
    QueueFull,
    StoreError,
    UnknownJobType,
)
from millhand.wire.errors import (
    AlreadyEnded,
    AnswerTooLate,
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    MethodNotAllowed,
    RouteNotFound,
)

_FIELD = re.compile(r"(?:unknown|missing required) field `(.*)`", re.DOTALL)
MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """This is the body of every answer that is an error. Programs look at `type`, people read `detail`."""

    type: str
    title: str
    status: int
    detail: str
    retryable: bool
    path: str | None = None
    """Which field is wrong, such as `$.payload.size`; absent when no field is to blame."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors is told over HTTP."""

    status: int
    name: str
    title: str
    retryable: bool = False


TABLE: Mapping[type[BaseException], Row] = {
    MalformedBody: Row(400, "malformed-body", "The body is not JSON"),
    msgspec.DecodeError: Row(400, "malformed-body", "The body is not JSON"),
    msgspec.ValidationError: Row(422, "bad-request", "The request has the wrong shape"),
    BadRequest: Row(422, "bad-request", "The request has the wrong shape"),
    BadArguments: Row(422, "bad-arguments", "The job type refuses these arguments"),
    UnknownJobType: Row(422, "unknown-job-type", "No such job type"),
    JobNotFound: Row(404, "job-not-found", "No such job"),
    RouteNotFound: Row(404, "route-not-found", "Nothing here"),
    MethodNotAllowed: Row(405, "method-not-allowed", "This method is not taken here"),
    BodyTooSlow: Row(408, "body-too-slow", "The body came too slowly", retryable=True),
    AlreadyEnded: Row(409, "already-ended", "The job had ended"),
    IllegalMove: Row(409, "illegal-move", "The job cannot change in this way"),
    LeaseLost: Row(409, "lease-lost", "The job belongs to somebody else now"),
    BodyTooLarge: Row(413, "body-too-large", "The body is too large"),
    QueueFull: Row(503, "queue-full", "The queue is full", retryable=True),
    StoreError: Row(503, "store-unavailable", "The store does not answer", retryable=True),
    AnswerTooLate: Row(503, "answer-too-late", "There was no answer in time", retryable=True),
}
"""Every error that has a status of its own; a subclass answers as the nearest class above it."""

INTERNAL = Row(500, "internal-error", "The server failed")
"""What all other errors look like: their text stays in the server's log."""


def problem_of(error: BaseException) -> Problem:
    """Return what to tell a client about this error."""
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)
    detail, path = _describe(error, row)
    return Problem(
        type=f"urn:millhand:problem:{row.name}",
        title=row.title,
        status=row.status,
        detail=detail,
        retryable=row.retryable,
        path=path,
    )


def _describe(error: BaseException, row: Row) -> tuple[str, str | None]:
    match error:
        case msgspec.ValidationError():
            return _blame(*split_path(str(error)))
        case BadArguments(path=path):
            return str(error), f"$.payload{path.removeprefix('$')}"
        case BadRequest(reason=reason, path=path):
            return reason, path
        case UnknownJobType():
            return str(error), "$.type"
        case StoreError():
            return "the store refused or could not be reached; nothing was promised, try again", None
        case _ if row is INTERNAL:
            return "this is a fault of the server; its log tells more", None
        case _:
            return str(error), None


def _blame(reason: str, path: str) -> tuple[str, str]:
    """Add the field to the path where msgspec names it only in its text."""
    field = _FIELD.search(reason)
    return reason, f"{path}.{field[1]}" if field else path
