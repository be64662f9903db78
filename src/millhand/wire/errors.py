"""The errors that only a request can make; the rest of the table in `wire.problem` comes from core."""

from __future__ import annotations

from collections.abc import Collection

from millhand.core.errors import MillhandError


class MalformedBody(MillhandError, ValueError):
    """This says that a request's body is no JSON at all, or ended early."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the body cannot be read: {self.reason}"


class BadRequest(MillhandError, ValueError):
    """This says which field of a request has the wrong shape. `path` is like `$.delay`, or `limit` in a query."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason, path)
        self.reason, self.path = reason, path

    def __str__(self) -> str:
        return f"{self.reason} (at {self.path})"


class BodyTooLarge(MillhandError, ValueError):
    """This says that a request's body is longer than the server reads."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the body is longer than {self.limit} bytes; send less, or raise max_body on the server"


class RouteNotFound(MillhandError, LookupError):
    """This says that nothing answers at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"nothing answers at {self.path}"


class MethodNotAllowed(MillhandError):
    """This says that the path exists but takes other methods, named in `allowed`."""

    def __init__(self, method: str, allowed: Collection[str]) -> None:
        super().__init__(method, tuple(sorted(allowed)))
        self.method, self.allowed = method, tuple(sorted(allowed))

    def __str__(self) -> str:
        return f"{self.method} is not taken here; use {', '.join(self.allowed)}"


class AlreadyEnded(MillhandError):
    """This says that a job had ended before it could be cancelled; nothing was changed."""

    def __init__(self, id: str, state: str) -> None:
        super().__init__(id, state)
        self.id, self.state = id, state

    def __str__(self) -> str:
        return f"job {self.id} is {self.state} already, so there is nothing left to cancel"


class BodyTooSlow(MillhandError, TimeoutError):
    """This says that a request's body was not complete in time; nothing was done."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.timeout = timeout

    def __str__(self) -> str:
        return f"the body was not complete within {self.timeout:g} s; send it faster"


class AnswerTooLate(MillhandError, TimeoutError):
    """This says that the server had no answer in time. Whether the request took effect is unknown."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.timeout = timeout

    def __str__(self) -> str:
        return f"there was no answer within {self.timeout:g} s; what was asked for may still take effect"
