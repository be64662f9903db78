"""The gallery: which examples there are, and how one is run in a process of its own."""

from __future__ import annotations

import ast
import difflib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from millhand.core.clock import Seconds

SECTIONS = {
    "basic": (
        "basic",
        "buffered",
        "dynamic",
        "priority",
        "results",
        "error_handling",
        "timeout",
        "metrics",
        "performance",
        "pitfalls",
    ),
    "exercises": (
        "basic",
        "buffered",
        "dynamic",
        "priority",
        "results",
        "error_handling",
        "timeout",
        "metrics",
    ),
    "advanced": (
        "adaptive",
        "priority_queue",
        "group",
        "endless_map",
        "async_doors",
        "processes",
        "parts",
    ),
    "practical": (
        "basic_numbers",
        "success_counts",
        "url_fetcher",
        "image_processor",
        "partial_results",
        "web_app_jobs",
    ),
}
"""What stands in each folder, in the order in which it is best read."""

TIME_LIMIT: Seconds = 30.0
"""When an example that still runs is killed, and counts as failed. They take less than two seconds."""


@dataclass(frozen=True, slots=True)
class Example:
    """This is one file of the gallery."""

    section: str
    title: str
    """The name of the file, without its suffix."""

    @property
    def name(self) -> str:
        """Its name in the gallery, such as `basic/buffered`."""
        return f"{self.section}/{self.title}"

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"millhand.examples.{self.section}.{self.title}"

    @property
    def path(self) -> Path:
        """Where its text stands."""
        return Path(__file__).parent / self.section / f"{self.title}.py"

    @property
    def docstring(self) -> str:
        """What its module says of itself; reading it imports nothing."""
        return ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""

    @property
    def summary(self) -> str:
        """The first line of that."""
        return self.docstring.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Finished:
    """This is how an example went; `lines` and `error` are what it wrote to stdout and stderr, if that was kept."""

    name: str
    seconds: Seconds
    ok: bool
    lines: list[str]
    error: str = ""


GALLERY = tuple(Example(section, title) for section, titles in SECTIONS.items() for title in titles)


def choose(what: str) -> list[Example]:
    """Return the examples that "all", a section, `section/name` or a name means; a name that is twice there: the first.

    Raises:
        ValueError: there is nothing of that name; the message names what is close to it.
    """
    if what == "all":
        return list(GALLERY)
    if what in SECTIONS:
        return [example for example in GALLERY if example.section == what]
    named = [example for example in GALLERY if what in (example.name, example.title)]
    if not named:
        known = ["all", *SECTIONS, *(name for example in GALLERY for name in (example.title, example.name))]
        close = difflib.get_close_matches(what, dict.fromkeys(known), n=3)
        guess = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"there is no example {what!r}; {guess}millhand examples --list names all")
    return named[:1]


def run(example: Example, *, keep: bool, time_limit: Seconds = TIME_LIMIT) -> Finished:
    """Run an example in a process of its own, and return how it went; with `keep` also what it wrote, unseen."""
    began = time.monotonic()
    pipe = subprocess.PIPE if keep else None
    # -P: a file of the reader's folder that is called like a module must not be imported in its place.
    command = [sys.executable, "-P", "-m", example.module]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8", start_new_session=True) as child:
        text, error, in_time = finish(child, time_limit)
    if not in_time:
        error += f"still running after {time_limit:g} s, so it was killed\n"
    ok = in_time and child.returncode == 0
    return Finished(example.name, time.monotonic() - began, ok, text.splitlines(), error)


def finish(child: subprocess.Popen[str], time_limit: Seconds) -> tuple[str, str, bool]:
    """Wait for a process that leads a session; return what it wrote to its pipes, and whether it ended in time.

    Nothing outlives this: neither the process nor what it has started, also if this is interrupted.
    """
    in_time = True
    try:
        out, error = child.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        in_time = False
        _kill_session(child)
        out, error = child.communicate()
    finally:
        _kill_session(child)  # what it has left behind; at Ctrl-C, which reaches this process only, all of it
    return out or "", error or "", in_time


def _kill_session(leader: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
