"""Whole answers as values, so that nothing is sent before it is known what."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from starlette.exceptions import HTTPException

from millhand.wire import MEDIA_TYPE, MethodNotAllowed, RouteNotFound, problem_of

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

RETRY_AFTER_SECONDS = b"1"
JSON: Header = (b"content-type", b"application/json")
_PROBLEM: Header = (b"content-type", MEDIA_TYPE.encode())

log = logging.getLogger("millhand.server")
encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Answer:
    """A status, headers (the content-length is added when it is sent) and a body."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (JSON,)


def answer_json(value: Any, *, status: int = 200) -> Answer:
    """Return an answer whose body is this value as JSON."""
    return Answer(status, encode(value))


def answer_error(error: Exception, scope: Scope) -> Answer:
    """Return the problem that tells this error; one that nobody foresaw goes to the log with its traceback."""
    if isinstance(error, HTTPException):
        error = _from_routing(error, scope)
    problem = problem_of(error)
    headers = [_PROBLEM]
    if problem.status >= 500 and not problem.retryable:
        log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    if problem.status == 503:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return Answer(problem.status, encode(problem), tuple(headers))


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Send it; for HEAD, all but the body."""
    length = str(len(answer.body)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [*answer.headers, (b"content-length", length)],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def _from_routing(error: HTTPException, scope: Scope) -> Exception:
    """Turn what Starlette's router raises into errors of the table."""
    if error.status_code == 405:
        return MethodNotAllowed(scope["method"], (error.headers or {}).get("Allow", "").split(", "))
    return RouteNotFound(scope["path"])
