"""`submit` and `jobs`: the database from a shell."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millhand.core.errors import JobCancelled, JobFailed
from millhand.core.job import Job, JobState
from millhand.jobs import JobOptions, Jobs
from millhand.wire import JobBody, iso

DEFAULT_URL = "sqlite:///millhand.db"
WIDE = 500
SHOWN = 60
"""Characters of a result or error in the table."""
COLOURS = {
    JobState.COMPLETED: "green",
    JobState.FAILED: "red",
    JobState.PROCESSING: "cyan",
    JobState.CANCELLED: "dim",
}


def submit_job(url: str | None, type: str, payload: str, options: JobOptions, *, wait: bool) -> int:
    """Keep one job and print its id, or wait and print its result; return the exit code (1: it failed)."""
    with Jobs(url or DEFAULT_URL) as jobs:
        job = jobs.draft(type, payload, options)
        jobs.store.intake.enqueue([job])
        if not wait:
            print(job.id)
            return 0
        try:
            result = jobs.handle(job.id).result()
        except (JobFailed, JobCancelled) as error:
            print(f"millhand: {error}", file=sys.stderr)
            return 1
    print(msgspec.json.encode(result).decode())
    return 0


def show_job(url: str | None, id: str) -> int:
    """Print one job whole, as JSON."""
    with Jobs(url or DEFAULT_URL) as jobs:
        body = msgspec.json.encode(JobBody.of(jobs.store.reading.get(id)))
    print(msgspec.json.format(body, indent=2).decode())
    return 0


def list_jobs(url: str | None, *, state: str | None, type: str | None, limit: int) -> int:
    """Print a table of jobs, newest first, and how many there are in each state."""
    wanted = None if state is None else _state(state)
    with Jobs(url or DEFAULT_URL) as jobs:
        page = jobs.store.reading.find(state=wanted, type=type, limit=limit)
        counts = jobs.store.reading.counts()
    table = Table("id", "type", "state", "attempt", "submitted", "result or error", box=None, pad_edge=False)
    for job in page.jobs:
        coloured = Text(job.state, style=COLOURS.get(job.state, ""))
        attempt = f"{job.attempt}/{job.max_attempts}"
        # Text, not str: what a job holds must not be taken for markup.
        table.add_row(job.id, Text(job.type), coloured, attempt, iso(job.submitted_at), Text(_outcome(job)))
    # A pipe gets whole lines: only a terminal has a width that they could be too long for.
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(table)
    console.print(", ".join(f"{n} {name}" for name, n in counts.items()))
    return 0


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        raise ValueError(f"there is no state {text!r}; there are: {', '.join(JobState)}") from None


def _outcome(job: Job) -> str:
    text = f"{job.error.type}: {job.error.message}" if job.error else job.result or ""
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
