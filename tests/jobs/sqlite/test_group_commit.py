"""The one writer: what comes together shares a commit, and one request's trouble is nobody else's."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from millhand.core import JobNotFound, JobState, StoreError
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.sqlite.statements import SQL
from millhand.jobs.sqlite.writer import Group, Writer
from tests.jobs.ledger import FOR_EVER, T0, assert_counts_add_up, done, draft, put, state_of, take
from tests.jobs.sqlite import children

DISK_FULL = """
import resource, sys
from pathlib import Path
from millhand.core import NewJob, StoreError
from millhand.jobs.ids import new_id
from millhand.jobs.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
refused = 0
for n in range(400):
    id = new_id()
    try:
        store.intake.enqueue([NewJob(id=id, type="mail", payload='"' + 5_000 * "x" + '"')])
    except StoreError:
        refused += 1
        print("refused", id)
    else:
        print("acknowledged", id)
    if refused == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if refused and n == 399:
        print("end")
sys.stdout.flush()
store.housekeeping.close()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    assert_counts_add_up(store)
    store.housekeeping.close()


@pytest.fixture
def writer(store: SqliteStore) -> Iterator[Writer]:
    """A second writer on the same file, for operations of the tests' own."""
    writer = Writer(store.path)
    yield writer
    writer.close()


class Caller:
    """A thread that makes one call and keeps what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.answer: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._call()
        except BaseException as error:
            self.error = error

    @property
    def is_waiting(self) -> bool:
        """Whether the thread sleeps on a lock: its request is in the writer's hands."""
        frame = sys._current_frames().get(self.thread.ident or 0)  # noqa: SLF001 - documented, for all its name
        return frame is not None and frame.f_code is threading.Condition.wait.__code__


@contextmanager
def busy(writer: Writer) -> Iterator[None]:
    """Keep the writer inside a transaction for the length of a `with` block."""
    started, go_on = threading.Event(), threading.Event()

    def block(group: Group) -> None:
        started.set()
        assert go_on.wait(10)

    blocker = Caller(lambda: writer.run(block))
    assert started.wait(10)
    yield
    go_on.set()
    blocker.thread.join()
    assert blocker.error is None


@contextmanager
def busy_store(store: SqliteStore) -> Iterator[None]:
    """Keep a store's own writer busy, between two groups."""
    started, go_on = threading.Event(), threading.Event()

    def block(arrived: bool, ended: Sequence[str]) -> None:
        started.set()
        assert go_on.wait(10)

    forget = store.housekeeping.on_commit(block)
    blocked = Caller(lambda: store.housekeeping.declare_types(["blocker"]))
    assert started.wait(10)
    yield
    forget()
    go_on.set()
    blocked.thread.join()


def call_together(writer: Writer, *calls: Callable[[], Any]) -> list[Caller]:
    """Make these calls while the writer is busy with another, so that they stand in one group; wait for all."""
    with busy(writer):
        callers = [Caller(call) for call in calls]
        wait_until(lambda: all(caller.is_waiting for caller in callers))
    for caller in callers:
        caller.thread.join()
    return callers


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "it did not come to pass within 10 s"
        time.sleep(0.001)


def declare(writer: Writer, type: str) -> Callable[[], int]:
    return lambda: writer.run(lambda group: group.run("declare_types", types=f'["{type}"]'))


def test_requests_that_come_together_share_one_commit(writer: Writer, store: SqliteStore) -> None:
    commits: list[bool] = []
    writer.on_commit(lambda arrived, ended: commits.append(arrived))

    callers = call_together(writer, *(declare(writer, f"type-{n}") for n in range(20)))

    assert [caller.error for caller in callers] == [None] * 20
    assert len(store.reading.types()) == 20
    assert len(commits) == 2  # the one that kept the writer busy, and one for all the others


def test_many_submitting_threads_need_fewer_commits_than_they_make_requests(store: SqliteStore) -> None:
    commits: list[bool] = []
    store.housekeeping.on_commit(lambda arrived, ended: commits.append(arrived))
    together = threading.Barrier(16)

    def submit() -> None:
        together.wait()
        for _ in range(10):
            put(store)

    callers = [Caller(submit) for _ in range(16)]
    for caller in callers:
        caller.thread.join()

    assert [caller.error for caller in callers] == [None] * 16
    assert store.reading.counts()[JobState.PENDING] == 160
    assert len(commits) < 160


def test_a_group_is_bounded(writer: Writer, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millhand.jobs.sqlite.writer.GROUP_LIMIT", 4)
    commits: list[bool] = []
    writer.on_commit(lambda arrived, ended: commits.append(arrived))

    call_together(writer, *(declare(writer, f"type-{n}") for n in range(10)))

    assert len(store.reading.types()) == 10
    assert len(commits) == 1 + 3


def test_everybody_in_a_group_gets_the_answer_to_its_own_request(writer: Writer) -> None:
    callers = call_together(writer, *(lambda n=n: writer.run(lambda group: n) for n in range(30)))

    assert [caller.answer for caller in callers] == list(range(30))


def test_one_request_that_fails_hurts_no_other_of_its_group(writer: Writer, store: SqliteStore) -> None:
    def fail(group: Group) -> None:
        group.run("declare_types", types='["half-done"]')
        raise JobNotFound("x")

    before, failing, after = call_together(
        writer, declare(writer, "before"), lambda: writer.run(fail), declare(writer, "after")
    )

    assert (before.error, after.error) == (None, None)
    assert isinstance(failing.error, JobNotFound)
    assert store.reading.types() == ["after", "before"]


def test_a_request_that_the_database_refuses_hurts_no_other_of_its_group(
    writer: Writer, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SQL, "nonsense", "INSERT INTO jobs (id) VALUES ('incomplete')")

    good, bad = call_together(writer, declare(writer, "good"), lambda: writer.run(lambda group: group.run("nonsense")))

    assert good.error is None
    assert isinstance(bad.error, StoreError)
    assert "NOT NULL" in str(bad.error)
    assert store.reading.types() == ["good"]


def test_the_counters_of_a_failed_request_are_not_written(writer: Writer, store: SqliteStore) -> None:
    def fail(group: Group) -> None:
        group.moved("q", None, JobState.PENDING)
        group.raise_total("stale_finishes_rejected")
        raise JobNotFound("x")

    call_together(writer, lambda: writer.run(fail), declare(writer, "good"))

    assert store.reading.counts()[JobState.PENDING] == 0
    assert store.reading.totals()["stale_finishes_rejected"] == 0


def test_listeners_are_told_before_the_askers_and_after_the_commit(store: SqliteStore) -> None:
    order: list[str] = []
    put(store)
    [job] = take(store)

    def note(arrived: bool, ended: Sequence[str]) -> None:
        looking = Caller(lambda: state_of(store, job.id))
        looking.thread.join()
        order.append(f"listener saw {looking.answer}")

    store.housekeeping.on_commit(note)
    store.claims.finish([done(job)], now=T0)
    order.append("answered")

    assert order == ["listener saw completed", "answered"]


def test_a_limit_holds_among_those_that_share_a_commit(store: SqliteStore) -> None:
    with busy_store(store):
        callers = [Caller(lambda: store.intake.enqueue([draft()], limit=3, now=T0)) for _ in range(8)]
        wait_until(lambda: all(caller.is_waiting for caller in callers))
    for caller in callers:
        caller.thread.join()

    assert sum(caller.answer == [None] for caller in callers) == 3
    assert store.reading.counts()[JobState.PENDING] == 3


def test_jobs_that_came_in_by_the_same_commit_are_claimed_in_it(store: SqliteStore) -> None:
    store.housekeeping.announce("r1", lease=FOR_EVER)
    with busy_store(store):
        putting = Caller(lambda: put(store))
        wait_until(lambda: putting.is_waiting)
        taking = Caller(lambda: take(store))
        wait_until(lambda: taking.is_waiting)
    for caller in (putting, taking):
        caller.thread.join()

    assert [job.id for job in taking.answer] == putting.answer


def test_what_was_asked_before_close_is_written(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    writer = Writer(store.path)

    with busy(writer):
        caller = Caller(declare(writer, "last"))
        wait_until(lambda: caller.is_waiting)
        closing = Caller(writer.close)
    caller.thread.join()
    closing.thread.join()

    assert (caller.error, closing.error) == (None, None)
    assert store.reading.types() == ["last"]
    store.housekeeping.close()


def test_a_full_database_refuses_and_what_it_acknowledged_is_there(
    store: SqliteStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for statement, text in {
        "limit_pages": "PRAGMA max_page_count = 60",
        "unlimit_pages": "PRAGMA max_page_count = 1000000",
    }.items():
        monkeypatch.setitem(SQL, statement, text)
    insert = "INSERT INTO types SELECT :name || hex(randomblob(2000))"
    monkeypatch.setitem(SQL, "insert", insert)
    writer.run(lambda group: group.rows("limit_pages"))

    callers = call_together(
        writer, *(lambda n=n: writer.run(lambda group: group.run("insert", name=f"{n:03}-")) for n in range(80))
    )

    acknowledged = {n for n, caller in enumerate(callers) if caller.error is None}
    assert {type(caller.error) for caller in callers} == {type(None), StoreError}
    assert {int(name[:3]) for name in store.reading.types()} == acknowledged
    writer.run(lambda group: group.rows("unlimit_pages"))
    assert declare(writer, "after")() == 1


@pytest.mark.slow
def test_a_commit_that_fails_keeps_nothing_and_the_next_ones_go_on(tmp_path: Path) -> None:
    """The file may not grow: the log refuses the pages at COMMIT. Later it may again."""
    path = tmp_path / "jobs.db"
    child = children.start(DISK_FULL, path)
    output, _ = child.communicate(timeout=15)
    lines = [line.split() for line in output.splitlines()]
    acknowledged = {line[1] for line in lines if line[0] == "acknowledged"}
    refused = {line[1] for line in lines if line[0] == "refused"}

    store = SqliteStore(path)
    try:
        assert lines[-1] == ["end"]
        assert len(refused) == 3
        assert {job.id for job in store.reading.get_many(acknowledged | refused)} == acknowledged
        assert_counts_add_up(store)
    finally:
        store.housekeeping.close()
    assert child.returncode == 0


def test_one_writer_serves_threads_without_leaving_one_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = SqliteStore(tmp_path / "jobs.db")
    put(store, draft())

    [writing] = set(threading.enumerate()) - before
    store.housekeeping.close()

    assert writing.name == "millhand-writer jobs.db"
    assert not writing.is_alive()


def test_without_a_thread_each_request_runs_in_its_caller(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = SqliteStore(tmp_path / "jobs.db", threaded=False)
    told_by: list[threading.Thread] = []
    store.housekeeping.on_commit(lambda arrived, ended: told_by.append(threading.current_thread()))

    put(store)
    with pytest.raises(JobNotFound):
        store.control.cancel("nobody")

    assert set(threading.enumerate()) == before
    assert told_by == [threading.current_thread()]
    store.housekeeping.close()
