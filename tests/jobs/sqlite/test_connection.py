"""Opening the file: where it may lie, what it may hold, and two processes that open it at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from millhand.core import JobState, StoreError
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.sqlite.connection import Readers, migrate, open_connection, refuse_network_file_system
from millhand.jobs.sqlite.statements import migrations
from millhand.jobs.sqlite.turn import Turn
from tests.jobs.ledger import assert_counts_add_up, draft, put
from tests.jobs.sqlite import children

OPEN_TOGETHER = """
import sys
from pathlib import Path
from millhand.jobs.sqlite import SqliteStore

print("ready", flush=True)
sys.stdin.readline()
store = SqliteStore(Path(sys.argv[1]))
store.housekeeping.declare_types([sys.argv[2]])
store.housekeeping.close()
"""

ENQUEUE_MANY = """
import sys
from pathlib import Path
from millhand.core import NewJob
from millhand.jobs.ids import new_id
from millhand.jobs.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
print("ready", flush=True)
for _ in range(100):
    store.intake.enqueue([NewJob(id=new_id(), type="mail", payload="{}")])
print("end", flush=True)
store.housekeeping.close()
"""

HOLD_TURN = """
import sys
from pathlib import Path
from millhand.jobs.sqlite.turn import Turn

turn = Turn(Path(sys.argv[1]))
with turn:
    print("mine", flush=True)
    sys.stdin.readline()
print("yours", flush=True)
sys.stdin.readline()
"""

MOUNTS = Path("/proc/self/mounts")


def show_mounts(monkeypatch: pytest.MonkeyPatch, table: str | None) -> None:
    """Let the system's table of mounts be this one (None: the system has no such table)."""
    read_text, exists = Path.read_text, Path.exists

    def fake_read(path: Path, *arguments: str) -> str:
        return table or "" if path == MOUNTS else read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", fake_read)
    monkeypatch.setattr(Path, "exists", lambda path: table is not None if path == MOUNTS else exists(path))


ROOT = "/dev/sda1 / ext4 rw 0 0\n"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "afs"])
def test_a_database_on_a_network_file_system_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_mounts(monkeypatch, ROOT + f"server:/x /srv {kind} rw 0 0\n")

    with pytest.raises(StoreError, match=kind):
        refuse_network_file_system(Path("/srv/deep/down/jobs.db"))


def test_a_store_is_not_even_created_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show_mounts(monkeypatch, ROOT + f"server:/x {tmp_path} nfs4 rw 0 0\n")

    with pytest.raises(StoreError):
        SqliteStore(tmp_path / "jobs.db")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "table",
    [
        ROOT,
        ROOT + "server:/x /srv2 nfs4 rw 0 0\n",
        ROOT + "server:/x /srv nfs4 rw 0 0\n/dev/sdb1 /srv/deep ext4 rw 0 0\n",
        "/dev/sdb1 /srv/deep xfs rw 0 0\nserver:/x /srv nfs4 rw 0 0\n" + ROOT,
        None,
    ],
    ids=["local", "other-mount", "local-inside-network", "any-order", "no-table"],
)
def test_a_database_on_a_local_file_system_is_welcome(table: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    show_mounts(monkeypatch, table)

    refuse_network_file_system(Path("/srv/deep/jobs.db"))


def test_what_was_mounted_last_on_a_folder_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An automounted network folder stands twice in the table: as autofs, and over it as what it is."""
    show_mounts(monkeypatch, ROOT + "systemd-1 /srv autofs rw 0 0\nserver:/x /srv nfs4 rw 0 0\n")

    with pytest.raises(StoreError):
        refuse_network_file_system(Path("/srv/jobs.db"))


def test_a_mounted_folder_may_have_a_space_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table writes it as \\040."""
    show_mounts(monkeypatch, ROOT + "server:/x /srv/my\\040files nfs4 rw 0 0\n")

    with pytest.raises(StoreError):
        refuse_network_file_system(Path("/srv/my files/jobs.db"))


def test_an_old_sqlite_is_refused_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))

    with pytest.raises(StoreError, match=r"3\.38\.0 or newer"):
        SqliteStore(tmp_path / "jobs.db")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes\n" * 1_000)

    with pytest.raises(StoreError, match=r"notes\.txt"):
        SqliteStore(path)

    assert path.read_text() == "these are my notes\n" * 1_000


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        SqliteStore(tmp_path / "missing" / "jobs.db")


def test_another_programs_table_of_jobs_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE jobs (title TEXT)")
    other.execute("INSERT INTO jobs VALUES ('carpenter')")
    other.commit()

    with pytest.raises(StoreError):
        SqliteStore(path)

    assert other.execute("SELECT * FROM jobs").fetchall() == [("carpenter",)]
    assert other.execute("SELECT count(*) FROM sqlite_master").fetchall() == [(1,)]
    other.close()


def test_a_store_can_live_beside_another_programs_tables(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE people (name TEXT)")
    other.commit()

    store = SqliteStore(path)
    put(store)
    other.execute("INSERT INTO people VALUES ('Ada')")
    other.commit()
    put(store)

    assert store.reading.counts()[JobState.PENDING] == 2
    store.housekeeping.close()
    other.close()


def test_a_foreign_program_that_writes_makes_a_change_that_is_noticed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    before = store.reading.changed()
    other = sqlite3.connect(store.path)
    other.execute("CREATE TABLE people (name TEXT)")
    other.close()

    assert store.reading.changed() != before
    store.housekeeping.close()


def test_what_was_kept_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "jobs.db")
    [id] = put(first)
    first.housekeeping.close()

    second = SqliteStore(tmp_path / "jobs.db")

    assert second.reading.get(id).id == id
    assert_counts_add_up(second)
    second.housekeeping.close()


def test_a_temporary_store_goes_with_its_files() -> None:
    store = SqliteStore(None)
    folder = store.path.parent
    put(store)
    existed = folder.exists()

    store.housekeeping.close()

    assert existed
    assert not folder.exists()


def test_every_commit_of_a_file_is_synced(tmp_path: Path) -> None:
    durable, fleeting = open_connection(tmp_path / "a.db"), open_connection(tmp_path / "b.db", durable=False)

    settings = [connection.execute("PRAGMA synchronous").fetchone() for connection in (durable, fleeting)]
    journal = durable.execute("PRAGMA journal_mode").fetchone()

    assert settings == [(2,), (0,)]
    assert journal == ("wal",)
    durable.close()
    fleeting.close()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_connection(tmp_path / "jobs.db")
    yield connection
    connection.close()


def test_migrating_twice_changes_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection)
    schema = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()

    migrate(connection)

    numbers = [number for number, _ in migrations()]
    assert connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == schema
    assert connection.execute("PRAGMA user_version").fetchone() == (max(numbers),)
    assert numbers == sorted(set(numbers))


def test_a_step_of_the_schema_that_fails_leaves_nothing_behind(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE totals (mine)")  # the last of the tables that the first step makes

    with pytest.raises((sqlite3.Error, StoreError)):
        migrate(connection)

    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("totals",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    assert not connection.in_transaction


@pytest.mark.slow
def test_processes_that_open_a_new_file_at_once_make_its_schema_once(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    openers = [children.start(OPEN_TOGETHER, path, f"type-{n}") for n in range(4)]
    try:
        for child in openers:
            children.wait_for_line(child)
        for child in openers:
            children.tell(child)
        codes = [child.wait(15) for child in openers]
    finally:
        for child in openers:
            children.end(child)

    store = SqliteStore(path)
    assert codes == [0, 0, 0, 0]
    assert store.reading.types() == ["type-0", "type-1", "type-2", "type-3"]
    store.housekeeping.close()


@pytest.mark.slow
def test_two_processes_write_in_turns_and_nothing_is_lost(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    seen: set[int] = set()
    with children.running(ENQUEUE_MANY, store.path) as child:
        for _ in range(100):
            put(store, draft())
            seen.add(store.reading.changed())
        assert children.wait_for_line(child) == "end"

    assert store.reading.counts()[JobState.PENDING] == 200
    assert_counts_add_up(store)
    store.housekeeping.close()


def enter(turn: Turn, entered: threading.Event) -> threading.Thread:
    def run() -> None:
        with turn:
            entered.set()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.slow
def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    turn, entered = Turn(tmp_path / "turn"), threading.Event()
    with children.running(HOLD_TURN, tmp_path / "turn") as child:
        thread = enter(turn, entered)
        came_too_early = entered.wait(0.1)
        children.tell(child)

        assert children.wait_for_line(child) == "yours"
        assert entered.wait(10)

    assert not came_too_early
    thread.join()
    turn.close()


@pytest.mark.slow
def test_a_killed_process_leaves_the_turn_to_the_next(tmp_path: Path) -> None:
    turn, entered = Turn(tmp_path / "turn"), threading.Event()
    with children.running(HOLD_TURN, tmp_path / "turn") as child:
        thread = enter(turn, entered)
        children.kill(child)

        assert entered.wait(10)

    thread.join()
    turn.close()


class GoneAlready(SimpleQueue[sqlite3.Connection]):
    """A queue whose last item another thread takes just before this one does."""

    def get_nowait(self) -> sqlite3.Connection:
        raise Empty


def test_a_reader_that_finds_the_last_idle_connection_gone_opens_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads saw that one was idle; the slower one raised `queue.Empty` at its caller, once in 100,000 reads."""
    monkeypatch.setattr("millhand.jobs.sqlite.connection.SimpleQueue", GoneAlready)
    readers = Readers(tmp_path / "jobs.db")
    with readers.borrow() as first:
        pass

    with readers.borrow() as second:
        assert second is not first

    first.close()
    second.close()


def test_a_read_that_the_database_refuses_is_a_store_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    other = sqlite3.connect(store.path)
    other.execute("DROP TABLE types")
    other.close()

    with pytest.raises(StoreError, match=r"jobs\.db"):
        store.reading.types()

    store.housekeeping.close()
