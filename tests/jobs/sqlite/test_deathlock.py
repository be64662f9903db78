"""How a runner's death is seen at once, and that nobody alive is taken for dead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from millhand.core import JobState, StoreError
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.sqlite.deathlock import DeathLocks
from millhand.jobs.store import Rescue
from tests.jobs.ledger import T0, done, put, state_of, take_one
from tests.jobs.sqlite import children

CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from millhand.jobs.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
store.housekeeping.announce(sys.argv[2], lease=600.0)
jobs = store.claims.claim(sys.argv[2], room=10, types=["*"]).jobs
print(len(jobs), flush=True)
sys.stdin.readline()
store.housekeeping.close()
"""

COME_AND_GO = """
import sys
from pathlib import Path
from millhand.jobs.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
print("ready", flush=True)
for n in range(150):
    store.housekeeping.announce(f"r{n}", lease=600.0)
    assert store.claims.renew(f"r{n}", lease=600.0), f"r{n} was taken for dead"
    store.housekeeping.retire(f"r{n}")
print("end", flush=True)
store.housekeeping.close()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    store.housekeeping.close()


def lock_files(store: SqliteStore) -> list[str]:
    return sorted(file.name for file in store.path.parent.glob("*-runner-*"))


@pytest.mark.slow
def test_a_killed_runner_is_dead_at_once_and_its_jobs_wait_again(store: SqliteStore) -> None:
    [id] = put(store)
    with children.running(CLAIM_AND_WAIT, store.path, "child") as child:
        alive = store.claims.rescue(expired=False)
        state_before = state_of(store, id)
        children.kill(child)

        rescued = store.claims.rescue(expired=False)

    assert alive == []
    assert state_before is JobState.PROCESSING
    assert rescued == [Rescue("child", requeued=1, given_up=0)]
    assert state_of(store, id) is JobState.PENDING
    assert lock_files(store) == []


@pytest.mark.slow
def test_a_runner_that_is_starting_or_retiring_is_never_taken_for_dead(store: SqliteStore) -> None:
    """The lock is taken before the row is inserted; a row without a lock would look like a dead runner's."""
    rescued: list[Rescue] = []
    with children.running(COME_AND_GO, store.path) as child:
        while child.poll() is None:
            rescued += store.claims.rescue(expired=False)

        assert children.wait_for_line(child) == "end"

    assert rescued == []
    assert lock_files(store) == []


@pytest.mark.slow
def test_a_runner_whose_lock_is_held_still_dies_when_its_lease_ends(store: SqliteStore) -> None:
    """It hangs: alive for the system, silent for the store."""
    with children.running(CLAIM_AND_WAIT, store.path, "child"):
        [row] = store.reading.runners()

        assert store.claims.rescue(now=row.expires_at) == []
        assert store.claims.rescue(now=row.expires_at + 1) == [Rescue("child", requeued=0, given_up=0)]


def test_a_runner_of_this_process_is_alive(store: SqliteStore) -> None:
    store.housekeeping.announce("r1", lease=15.0)

    assert store.claims.rescue(expired=False) == []


def test_the_lock_goes_with_the_runner(store: SqliteStore) -> None:
    store.housekeeping.announce("r1", lease=15.0)
    before = lock_files(store)

    store.housekeeping.retire("r1")

    assert before == ["jobs.db-runner-r1"]
    assert lock_files(store) == []


def test_a_runner_taken_for_dead_can_be_announced_again(store: SqliteStore) -> None:
    store.housekeeping.announce("r1", lease=15.0, now=T0)
    put(store)
    lost = take_one(store, "r1")
    store.claims.rescue(now=T0 + 16)

    store.housekeeping.announce("r1", lease=15.0, now=T0 + 16)

    assert lock_files(store) == ["jobs.db-runner-r1"]
    assert store.claims.rescue(expired=False) == []
    assert store.claims.finish([done(lost)], now=T0) == [False]


def test_a_runner_without_a_lock_file_is_judged_by_its_lease_alone(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    other.housekeeping.announce("r1", lease=15.0, now=T0)
    other.housekeeping.close()  # drops the lock in order, its file too; the row stays

    assert store.claims.rescue(expired=False, now=T0 + 1) == []
    assert store.claims.rescue(expired=True, now=T0 + 16) == [Rescue("r1", 0, 0)]


def test_an_id_that_is_in_use_is_refused(tmp_path: Path) -> None:
    first, second = DeathLocks(tmp_path / "jobs.db"), DeathLocks(tmp_path / "jobs.db")
    first.hold("r1")

    with pytest.raises(StoreError, match="r1"):
        second.hold("r1")

    first.close()
    second.hold("r1")
    second.close()


def test_a_lock_is_dead_only_once_nobody_holds_it(tmp_path: Path) -> None:
    held, looking = DeathLocks(tmp_path / "jobs.db"), DeathLocks(tmp_path / "jobs.db")
    held.hold("r1")
    (tmp_path / "jobs.db-runner-r2").touch()  # what a killed process leaves behind

    assert looking.dead_among(["r1", "r2", "never-locked"]) == ["r2"]
    assert held.dead_among(["r1"]) == []

    looking.bury("r2")
    held.bury("r1")
    assert (tmp_path / "jobs.db-runner-r1").exists()
    assert not (tmp_path / "jobs.db-runner-r2").exists()
    held.close()


def test_releasing_a_lock_that_is_not_held_is_no_fault(tmp_path: Path) -> None:
    DeathLocks(tmp_path / "jobs.db").release("r1")


def test_a_refused_announcement_leaves_no_lock_behind(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    store.housekeeping.close()

    with pytest.raises(StoreError):
        store.housekeeping.announce("r1", lease=15.0)

    assert lock_files(store) == []
