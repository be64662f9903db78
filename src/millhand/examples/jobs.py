"""The demo jobs, run by `millhand serve` unless it is given a program: work on real files, and small ones to try."""

from __future__ import annotations

import hashlib
import time
import urllib.request
from pathlib import Path

from PIL import Image

from millhand.core.clock import Seconds
from millhand.jobs import Jobs, current_job

jobs = Jobs("sqlite:///millhand.db")


@jobs.register
def echo(text: str = "") -> str:
    """Give back what came in."""
    return text


@jobs.register
def sleep(seconds: Seconds = 1.0) -> Seconds:
    """Take a while, but stop when asked to."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not current_job().cancel_requested:
        time.sleep(min(left, 0.1))
    return seconds


@jobs.register
def fail(message: str = "failing on purpose") -> None:
    """Raise, every time: the job is tried again, later and later, until its attempts are spent."""
    raise RuntimeError(message)


@jobs.register("job-*")
def any_job() -> str:
    """Run every type of the teaching text's acceptance loop: job-1, job-2 and so on."""
    return f"{current_job().type} is done"


@jobs.register
def word_count(path: Path) -> dict[str, int]:
    """Count the lines, words and characters of a text file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return {"lines": text.count("\n"), "words": len(text.split()), "characters": len(text)}


@jobs.register
def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Compute the digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@jobs.register
def thumbnail(path: Path, output: Path, size: int = 128) -> dict[str, int]:
    """Make a picture that fits into a square of `size` pixels, and write it to `output`."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((size, size))
        output.parent.mkdir(parents=True, exist_ok=True)
        small.save(output)
        return {"width": small.width, "height": small.height}


@jobs.register
def fetch(url: str, timeout: Seconds = 10.0) -> dict[str, float]:
    """Get a web page; tell its status, its size in bytes and how many seconds it took."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"only http and https are fetched, got {url!r}")
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        body = answer.read()
        return {"status": answer.status, "size": len(body), "seconds": time.perf_counter() - began}
