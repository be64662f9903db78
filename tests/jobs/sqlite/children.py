"""Other processes for tests: each runs a few lines, says so on its output, and ends when told or killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import millhand

SOURCE = str(Path(next(iter(millhand.__path__))).parent)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that runs `code`; the caller sees to its end."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )


@contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a process for the length of a `with` block; it has printed its first line when the block begins."""
    child = start(code, *arguments)
    try:
        wait_for_line(child)
        yield child
    finally:
        end(child)


def wait_for_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, f"the child ended early with exit code {child.wait()}"
    return line.strip()


def tell(child: subprocess.Popen[str]) -> None:
    """Let a child go on that waits for a line."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()


def end(child: subprocess.Popen[str]) -> None:
    kill(child)
    for stream in (child.stdin, child.stdout):
        assert stream is not None
        stream.close()
