"""Reading a request's body, never more of it than allowed."""

from __future__ import annotations

from millhand.server.answers import Receive, Scope
from millhand.wire import BodyTooLarge, MalformedBody


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLarge: as soon as it is announced, or found, to be longer than `limit` bytes.
        MalformedBody: when it ended before it was complete.
    """
    announced = _content_length(scope)
    if announced > limit:
        raise BodyTooLarge(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    # A server may deliver the end as a message of its own: to wait for that costs a tenth of a small request.
    if len(body) == announced and message["type"] == "http.request":
        return body
    parts, length = [body], len(body)
    while length <= limit and message.get("more_body", False):
        message = await receive()
        part: bytes = message.get("body", b"")
        parts.append(part)
        length += len(part)
    if length > limit:
        raise BodyTooLarge(limit)
    if message["type"] == "http.disconnect":
        raise MalformedBody("it ended before it was complete")
    return b"".join(parts)


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else -1
    return -1
