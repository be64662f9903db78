"""Each demo job, called directly: a registered function stays the function that it was."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
import urllib.error

import pytest
from PIL import Image

from millhand.core.job import ClaimedJob
from millhand.examples import jobs as demo
from millhand.jobs.current import CurrentJob, set_current_job


@pytest.fixture
def current():
    """Be inside a job."""
    job = CurrentJob(ClaimedJob("id", "job-7", "{}", token=1, attempt=1, max_attempts=5, timeout=None, rank=0.0))
    set_current_job(job)
    return job


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/page" else 404)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        thread.join(5.0)


def test_every_demo_job_is_tried_here():
    tried = {"echo", "sleep", "fail", "job-*", "word_count", "hash_file", "thumbnail", "fetch"}

    assert set(demo.jobs.registry.names) == tried


def test_echo_gives_back_what_came_in():
    assert demo.echo("häi") == "häi"
    assert demo.echo() == ""


def test_sleep_takes_at_least_as_long_as_told(current):
    began = time.monotonic()

    assert demo.sleep(0.05) == 0.05
    assert time.monotonic() - began >= 0.05


def test_sleep_stops_when_asked_to(current):
    current.cancel_requested = True
    began = time.monotonic()

    demo.sleep(60.0)

    assert time.monotonic() - began < 5.0


def test_fail_raises_what_it_was_told():
    with pytest.raises(RuntimeError, match=r"^as told$"):
        demo.fail("as told")


def test_any_job_names_its_type(current):
    assert demo.any_job() == "job-7 is done"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (0, 0, 0)),
        (b"one two\nthree\n", (2, 3, 14)),
        ("größe\n\n".encode(), (2, 1, 7)),
        (b"\xff\xfe broken", (0, 2, 9)),
    ],
)
def test_word_count_counts_lines_words_and_characters(tmp_path, content, expected):
    (tmp_path / "text").write_bytes(content)

    counted = demo.word_count(tmp_path / "text")

    assert (counted["lines"], counted["words"], counted["characters"]) == expected


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "sha3_512"])
def test_hash_file_computes_the_digest(tmp_path, algorithm):
    content = bytes(range(256)) * 5000
    (tmp_path / "data").write_bytes(content)

    assert demo.hash_file(tmp_path / "data", algorithm) == hashlib.new(algorithm, content).hexdigest()


def test_hash_file_refuses_an_algorithm_that_does_not_exist(tmp_path):
    (tmp_path / "data").write_bytes(b"x")

    with pytest.raises(ValueError, match="crc33"):
        demo.hash_file(tmp_path / "data", "crc33")


@pytest.mark.parametrize("job", [demo.word_count, demo.hash_file])
def test_a_file_that_is_not_there_is_an_error(tmp_path, job):
    with pytest.raises(FileNotFoundError):
        job(tmp_path / "nowhere")


@pytest.mark.parametrize(("mode", "size", "expected"), [("RGB", (400, 200), (64, 32)), ("P", (100, 300), (21, 64))])
def test_thumbnail_fits_into_the_square_and_keeps_the_shape(tmp_path, mode, size, expected):
    Image.new(mode, size, 3).save(tmp_path / "big.png")

    made = demo.thumbnail(tmp_path / "big.png", tmp_path / "new" / "folder" / "small.png", 64)

    with Image.open(tmp_path / "new" / "folder" / "small.png") as small:
        assert small.size == (made["width"], made["height"]) == expected


def test_thumbnail_makes_nothing_larger(tmp_path):
    Image.new("L", (10, 20)).save(tmp_path / "tiny.png")

    assert demo.thumbnail(tmp_path / "tiny.png", tmp_path / "small.jpg") == {"width": 10, "height": 20}


def test_fetch_tells_status_size_and_time(site):
    fetched = demo.fetch(f"{site}/page")

    assert (fetched["status"], fetched["size"]) == (200, 5)
    assert 0 < fetched["seconds"] < 10


def test_fetch_raises_when_the_page_is_not_there(site):
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        demo.fetch(f"{site}/nowhere")
    caught.value.close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org", "/etc/passwd"])
def test_fetch_gets_nothing_but_http(url):
    with pytest.raises(ValueError, match="only http and https"):
        demo.fetch(url)
