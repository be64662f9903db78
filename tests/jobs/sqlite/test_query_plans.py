"""How SQLite carries out the statements that run all day: by an index, whatever the table holds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from millhand.core import JobState
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.sqlite.statements import SQL
from millhand.jobs.store import Ending
from tests.jobs.ledger import T0, draft, put, take

BY_ID = "sqlite_autoindex_jobs_1 (id=?)"
PLANS = {
    "cancel_orphans": BY_ID,
    "cancel_waiting": BY_ID,
    "cancel_wishes": "jobs_unwanted (runner=?)",
    "claim": BY_ID,
    "claimable": "jobs_claimable (queue=?)",
    "claimable_suspect": "jobs_suspect (queue=?)",
    "due": "jobs_due (run_at<?)",
    "enqueued": "INTEGER PRIMARY KEY (rowid>?)",
    "finish": BY_ID,
    "finishable": BY_ID,
    "finished_before": BY_ID,
    "get": BY_ID,
    "give_up_orphans": BY_ID,
    "known": BY_ID,
    "last_row": "SEARCH jobs",
    "move_due": BY_ID,
    "next_due": "jobs_due",
    "orphans": "jobs_held (runner=?)",
    "releasable": BY_ID,
    "release": BY_ID,
    "request_cancel": BY_ID,
    "requeue_orphans": BY_ID,
    "state_of": BY_ID,
    "unknown_held": "jobs_held (runner=?)",
}
"""How each statement that looks for jobs finds them."""
NOT_HOT = {"enqueue", "find"}
"""Inserting looks nothing up; a page for people may look at every job."""

JOBS = r"\b(?:FROM|UPDATE|JOIN|INTO)\s+jobs\b"


@pytest.fixture(scope="module", params=["empty", "full", "analysed"])
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "jobs.db"
    store = SqliteStore(path)
    if request.param != "empty":
        fill(store)
    store.housekeeping.close()
    connection = sqlite3.connect(path)
    if request.param == "analysed":
        connection.execute("ANALYZE")
        connection.commit()
    yield connection
    connection.close()


def fill(store: SqliteStore) -> None:
    """Put jobs in every state, most of them ended, as in a store that has run for a while."""
    put(store, *(draft(queue=f"q{n % 3}") for n in range(1_000)))
    ended = take(store, "r1", room=900)
    store.claims.finish([Ending(job.id, job.token, JobState.COMPLETED) for job in ended], now=T0)
    take(store, "r2", room=50)
    put(store, *(draft(delay=60.0) for _ in range(50)))


def plan_of(connection: sqlite3.Connection, statement: str) -> list[str]:
    values = dict.fromkeys(re.findall(r":(\w+)", SQL[statement]))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {SQL[statement]}", values)]


@pytest.mark.parametrize("statement", PLANS)
def test_a_hot_statement_finds_jobs_by_an_index(connection: sqlite3.Connection, statement: str) -> None:
    plan = plan_of(connection, statement)

    assert any(PLANS[statement] in line for line in plan), plan
    assert not any(re.match(r"SCAN (jobs|held)\b(?! VIRTUAL)", line) for line in plan), plan


@pytest.mark.parametrize("statement", ["claimable", "claimable_suspect", "due"])
def test_the_order_of_claiming_needs_no_sorting(connection: sqlite3.Connection, statement: str) -> None:
    assert not any("TEMP B-TREE" in line for line in plan_of(connection, statement))


def test_whether_a_runner_holds_a_suspect_is_found_by_index(connection: sqlite3.Connection) -> None:
    assert any("jobs_held (runner=?)" in line for line in plan_of(connection, "claimable_suspect"))


def test_every_statement_on_jobs_is_in_the_table_above() -> None:
    on_jobs = {name for name, text in SQL.items() if re.search(JOBS, text)}

    assert on_jobs == PLANS.keys() | NOT_HOT


def test_an_ended_job_stands_in_no_index_but_the_one_of_ids(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    put(store, *(draft() for _ in range(10)))
    store.claims.finish([Ending(job.id, job.token, JobState.COMPLETED) for job in take(store)], now=T0)
    store.housekeeping.close()
    connection = sqlite3.connect(store.path)
    partial = {"jobs_claimable": "state = 'pending' AND suspect = 0", "jobs_due": "state = 'scheduled'"}

    for index, condition in partial.items():
        [[n]] = connection.execute(f"SELECT count(*) FROM jobs INDEXED BY {index} WHERE {condition}")
        assert n == 0
    connection.close()
