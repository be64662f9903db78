"""Clients that post without pause while a service stops, and keep account of every answer."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

REFUSED = "refused"
"""No connection was made: the service no longer listens."""
RESET = "reset"
"""The connection ended before the first byte of an answer: it was idle, or was never accepted."""
BROKEN = "broken"
"""Half an answer, or one that is neither 202 nor such an end."""


@dataclass
class Account:
    """What one client saw: the ids that were acknowledged, and every other end with its time."""

    acknowledged: list[str] = field(default_factory=list)
    others: list[tuple[float, str, str]] = field(default_factory=list)


class Clients:
    """Threads that post one job after the other until the service is gone; half keep their connection."""

    def __init__(self, port: int, count: int, *, type: str, payload: dict[str, object]) -> None:
        self._port = port
        self._body = json.dumps({"type": type, "payload": payload})
        self._accounts = [Account() for _ in range(count)]
        self._posted = threading.Semaphore(0)
        self._enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._post_on, args=(account, number % 2 == 0), name=f"client-{number}")
            for number, account in enumerate(self._accounts)
        ]

    def wait_until_acknowledged(self, count: int) -> None:
        """Return when so many jobs have been acknowledged."""
        for _ in range(count):
            assert self._posted.acquire(timeout=10.0), self.summary()

    @property
    def acknowledged(self) -> list[str]:
        return [id for account in self._accounts for id in account.acknowledged]

    def others(self, *kinds: str) -> list[tuple[float, str, str]]:
        """Return (when, kind, what happened) of all ends of these kinds."""
        return [other for account in self._accounts for other in account.others if other[1] in kinds]

    def summary(self) -> str:
        kinds = Counter(kind for account in self._accounts for _, kind, _ in account.others)
        return f"{len(self.acknowledged)} acknowledged, " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until each was refused; after an error at once."""
        if error is not None:
            self._enough.set()
        for thread in self._threads:
            thread.join(15.0)
        self._enough.set()

    def _post_on(self, account: Account, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10.0)
        while not self._enough.is_set():
            end = self._post(connection, account)
            if end != "acknowledged" or not keep:
                connection.close()
            if end == REFUSED:
                return

    def _post(self, connection: http.client.HTTPConnection, account: Account) -> str:
        try:
            if connection.sock is None:
                connection.connect()
        except ConnectionRefusedError as error:
            return self._note(account, REFUSED, error)
        except ConnectionResetError as error:
            return self._note(account, RESET, error)
        try:
            connection.request("POST", "/jobs", self._body, {"content-type": "application/json"})
            answer = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            return self._note(account, RESET, error)
        except (http.client.HTTPException, OSError) as error:
            return self._note(account, BROKEN, error)
        try:
            body = answer.read()
            if answer.status != 202:
                return self._note(account, BROKEN, f"{answer.status} {body!r}")
            account.acknowledged.append(json.loads(body)["job_id"])
        except (http.client.HTTPException, OSError, ValueError) as error:
            return self._note(account, BROKEN, error)
        self._posted.release()
        return "acknowledged"

    def _note(self, account: Account, kind: str, what: object) -> str:
        account.others.append((time.monotonic(), kind, repr(what)))
        return kind
