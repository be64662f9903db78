"""Somebody who asks `/livez` again and again, and keeps account of how long each answer took."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType


class Probes:
    """A thread that probes until the `with` block ends.

    `every` is the pause between two probes; it is cut short by the end of the block, so nothing sleeps it out.
    """

    def __init__(self, port: int, every: float = 0.05) -> None:
        self.took: list[float] = []
        self.errors: list[str] = []
        self._port, self._every = port, every
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._probe_on, name="probes")

    def __enter__(self) -> Probes:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join(15.0)

    def _probe_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10.0)
        while not self._enough.wait(self._every):
            began = time.monotonic()
            try:
                connection.request("GET", "/livez")
                answer = connection.getresponse()
                answer.read()
            except (http.client.HTTPException, OSError) as error:
                self.errors.append(repr(error))
                connection.close()
                continue
            self.took.append(time.monotonic() - began)
            if answer.status != 200:
                self.errors.append(str(answer.status))
        connection.close()
