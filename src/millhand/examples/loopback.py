"""A web site in this very program, on 127.0.0.1, so that examples reach no other machine."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""What opens its pages; never through a proxy, for which 127.0.0.1 would be another machine."""


def browse(address: str, form: bytes | None = None) -> str:
    """Get a page, or post a form; return what is answered. Raises URLError."""
    with browser.open(address, form) as answer:
        body: bytes = answer.read()
        return body.decode()


class Site(BaseHTTPRequestHandler):
    """This answers requests, each on a thread of its own, and logs none of them."""

    def get(self) -> None:
        """Answer a GET."""
        self.answer(405)

    def post(self) -> None:
        """Answer a POST."""
        self.answer(405)

    @property
    def body(self) -> bytes:
        """What came with a POST; to be read once."""
        return self.rfile.read(int(self.headers["content-length"]))

    def do_GET(self) -> None:
        """Answer a GET."""
        self.get()

    def do_POST(self) -> None:
        """Answer a POST."""
        self.post()

    def answer(self, status: int, body: bytes = b"") -> None:
        """Send a whole answer, unless whoever asked has gone."""
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has in the standard library
        """Say nothing."""


@contextmanager
def serve(site: type[Site]) -> Iterator[str]:
    """Serve on any free port while the body runs; give it the address. Answers under way are waited for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), site)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="site")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
