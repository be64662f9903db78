"""Waiting for jobs to end: every wish is granted once, whoever ended the job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from millhand.core import Job, JobNotFound, JobState, StoreError
from millhand.jobs.ids import new_id
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.watch import Watch
from tests.jobs.ledger import T0, again, done, draft, put, take, take_one
from tests.jobs.sqlite import children

FINISH = """
import sys
from pathlib import Path
from millhand.core import JobState
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.store import Ending

store = SqliteStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
store.housekeeping.announce("child", lease=60.0)
[job] = store.claims.claim("child", room=1, types=["*"]).jobs
store.claims.finish([Ending(job.id, job.token, JobState.COMPLETED, result='"by a child"')])
print("done", flush=True)
store.housekeeping.close()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    store.housekeeping.close()


@pytest.fixture
def watch(store: SqliteStore) -> Iterator[Watch]:
    watch = Watch(store)
    yield watch
    watch.close()


class Told:
    """A callback that keeps what it was told."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._event = threading.Event()

    def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        self._event.set()

    def wait(self) -> Job:
        assert self._event.wait(10), "nobody told that the job has ended"
        [job] = self.jobs
        return job


def end(store: SqliteStore, **claim: Any) -> str:
    job = take_one(store, **claim)
    store.claims.finish([done(job)], now=T0)
    return job.id


def test_who_waits_is_told_when_the_job_has_ended(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)
    told = Told()
    watch.when_ended(id, told)

    end(store)

    assert (told.wait().id, told.wait().state) == (id, JobState.COMPLETED)


def test_a_job_that_had_ended_is_told_at_once(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)
    end(store)
    told = Told()

    watch.when_ended(id, told)

    assert [job.id for job in told.jobs] == [id]


def test_a_wish_is_granted_once(store: SqliteStore, watch: Watch) -> None:
    first, second = put(store, draft(), draft())
    early, late = Told(), Told()
    watch.when_ended(first, early)
    watch.when_ended(second, late)

    end(store, room=1)
    early.wait()
    end(store, room=1)
    late.wait()  # a look after the second end has seen the first one's job again

    assert len(early.jobs) == 1


def test_everybody_who_waits_is_told(store: SqliteStore, watch: Watch) -> None:
    ids = put(store, *(draft() for _ in range(20)))
    wishes = [(id, Told()) for id in ids for _ in range(5)]
    for id, told in wishes:
        watch.when_ended(id, told)

    store.claims.finish([done(job) for job in take(store, room=20)], now=T0)

    assert [told.wait().id for _, told in wishes] == [id for id, _ in wishes]


def test_the_same_callback_twice_is_two_wishes(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)
    told, last = [], Told()
    watch.when_ended(id, told.append)
    watch.when_ended(id, told.append)
    watch.when_ended(id, last)

    end(store)
    last.wait()

    assert len(told) == 2


def test_a_wish_that_was_taken_back_is_not_granted(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)
    unwanted, wanted = Told(), Told()
    take_back = watch.when_ended(id, unwanted)
    watch.when_ended(id, wanted)

    take_back()
    take_back()
    end(store)
    wanted.wait()

    assert unwanted.jobs == []


def test_who_waits_for_an_unknown_job_learns_it(watch: Watch) -> None:
    told = Told()

    with pytest.raises(JobNotFound):
        watch.when_ended(new_id(), told)

    assert told.jobs == []


def test_a_wish_for_an_unknown_job_is_not_kept(store: SqliteStore, watch: Watch) -> None:
    id, unwanted, wanted = new_id(), Told(), Told()
    with pytest.raises(JobNotFound):
        watch.when_ended(id, unwanted)

    put(store, draft(id=id))
    watch.when_ended(id, wanted)
    end(store)
    wanted.wait()

    assert unwanted.jobs == []


def test_a_retry_is_no_end(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)
    told = Told()
    watch.when_ended(id, told)

    store.claims.finish([again(take_one(store))], now=T0)
    store.control.cancel(id, now=T0)

    assert told.wait().state is JobState.CANCELLED


class Between:
    """A store in which something happens between the wish and the look, or between the look and the answer."""

    def __init__(self, store: SqliteStore, before: Callable[[], object], after: Callable[[], object]) -> None:
        self.housekeeping, self.control, self.claims = store.housekeeping, store.control, store.claims
        self.reading = self
        self._store, self._before, self._after = store, before, after

    def get(self, id: str) -> Job:
        self._before()
        job = self._store.reading.get(id)
        self._after()
        return job

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store.reading, name)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_end_between_the_wish_and_the_look_is_told_once(store: SqliteStore, moment: str) -> None:
    [id] = put(store)
    other = draft()
    put(store, other, now=T0 + 1)
    actions: dict[str, Callable[[], object]] = {"before": lambda: None, "after": lambda: None}
    endings = [lambda: end(store, room=1)]
    actions[moment] = lambda: [ending() for ending in (endings.pop() for _ in endings[:1])]
    watch = Watch(Between(store, **actions))
    told, last = Told(), Told()

    watch.when_ended(id, told)
    watch.when_ended(other.id, last)
    end(store, room=1)
    last.wait()

    assert told.wait().id == id
    assert len(told.jobs) == 1
    watch.close()


def test_every_wish_is_granted_once_while_jobs_end_at_the_same_time(store: SqliteStore, watch: Watch) -> None:
    ids = put(store, *(draft() for _ in range(40)))
    wishes = {id: Told() for id in ids}

    def finish() -> None:
        for job in take(store, room=40):
            store.claims.finish([done(job)], now=T0)

    finishing = threading.Thread(target=finish)
    finishing.start()
    for id, told in wishes.items():
        watch.when_ended(id, told)
    finishing.join()

    assert [told.wait().id for told in wishes.values()] == ids


@pytest.mark.slow
def test_an_end_in_another_process_is_noticed(store: SqliteStore, watch: Watch) -> None:
    with children.running(FINISH, store.path) as child:
        [id] = put(store)
        told = Told()
        watch.when_ended(id, told)
        children.tell(child)

        job = told.wait()

    assert (job.state, job.result) == (JobState.COMPLETED, '"by a child"')


def test_waiting_returns_the_job_when_it_has_ended(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)
    ending = threading.Thread(target=lambda: end(store))
    ending.start()

    job = watch.wait(id, timeout=10)

    assert job.state is JobState.COMPLETED
    ending.join()


def test_waiting_returns_the_job_as_it_stands_when_the_time_is_up(store: SqliteStore, watch: Watch) -> None:
    [id] = put(store)

    assert watch.wait(id, timeout=0.0).state is JobState.PENDING


def test_waiting_for_an_unknown_job_learns_it(watch: Watch) -> None:
    with pytest.raises(JobNotFound):
        watch.wait(new_id(), timeout=10)


def test_no_thread_runs_before_the_first_wish_nor_after_the_end(store: SqliteStore) -> None:
    [id] = put(store)
    before = set(threading.enumerate())
    watch = Watch(store)
    without_wish = set(threading.enumerate()) - before
    watch.when_ended(id, Told())

    [looking] = set(threading.enumerate()) - before
    watch.close()
    watch.close()

    assert without_wish == set()
    assert looking.name == "millhand-watch"
    assert not looking.is_alive()


def test_closing_a_watch_nobody_used_is_no_fault(store: SqliteStore) -> None:
    Watch(store).close()


def test_a_callback_may_close_the_watch(store: SqliteStore) -> None:
    [id] = put(store)
    watch = Watch(store)
    closed = threading.Event()

    def close(job: Job) -> None:
        watch.close()
        closed.set()

    watch.when_ended(id, close)
    end(store)

    assert closed.wait(10)
    watch.close()


def test_somebody_who_knows_better_can_have_it_look_at_once(store: SqliteStore) -> None:
    watch = Watch(store, look_every=3_600.0)
    other = SqliteStore(store.path)  # as another process would: its commits are not told here
    [id] = put(store)
    told = Told()
    watch.when_ended(id, told)
    end(other)

    watch.look_soon()

    assert told.wait().id == id
    watch.close()
    other.housekeeping.close()


class Counting:
    """A store that counts the looks at it, and forgets listeners for all to see."""

    def __init__(self, store: SqliteStore) -> None:
        self.reading = self.housekeeping = self
        self._store = store
        self.looks = self.reads = 0
        self.forgotten = 0
        self.looked_often = threading.Event()

    def changed(self) -> int:
        self.looks += 1
        if self.looks == 30:
            self.looked_often.set()
        return self._store.reading.changed()

    def get_many(self, ids: Collection[str]) -> list[Job]:
        self.reads += 1
        return self._store.reading.get_many(ids)

    def get(self, id: str) -> Job:
        return self._store.reading.get(id)

    def on_commit(self, listener: Callable[[bool, Sequence[str]], None]) -> Callable[[], None]:
        forget = self._store.housekeeping.on_commit(listener)

        def count() -> None:
            self.forgotten += 1
            forget()

        return count


def test_a_store_in_which_nothing_changes_is_not_read_again_and_again(store: SqliteStore) -> None:
    [id] = put(store)
    counting = Counting(store)
    watch = Watch(counting)
    watch.when_ended(id, Told())

    assert counting.looked_often.wait(10)

    watch.close()
    watch.close()
    assert counting.reads <= 2
    assert counting.forgotten == 1


class Shaky:
    """A store whose first few reads of many jobs fail."""

    def __init__(self, store: SqliteStore, failures: int) -> None:
        self.housekeeping = store.housekeeping
        self.reading = self
        self._store, self._failures = store, failures
        self.failed = threading.Event()

    def get_many(self, ids: Collection[str]) -> list[Job]:
        if self._failures:
            self._failures -= 1
            self.failed.set()
            raise StoreError("the disk is away for a moment")
        return self._store.reading.get_many(ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store.reading, name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_read_that_fails_once_leaves_nobody_waiting_for_ever(store: SqliteStore) -> None:
    """The one thread that looks for everybody died of it, and told nobody anything any more."""
    shaky = Shaky(store, failures=1)
    watch = Watch(shaky)
    [id] = put(store)
    told = Told()
    watch.when_ended(id, told)

    end(store)
    assert shaky.failed.wait(10)
    deadline = time.monotonic() + 0.2
    while not told.jobs and time.monotonic() < deadline:
        put(store)  # a store that goes on changing gives every reason to look again

    watch.close()
    assert [job.id for job in told.jobs] == [id]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_fails_hurts_no_other(store: SqliteStore, watch: Watch) -> None:
    first, second = put(store, draft(), draft())
    told = Told()

    def fail(job: Job) -> None:
        raise RuntimeError("a bad callback")

    watch.when_ended(first, fail)
    watch.when_ended(second, told)
    end(store, room=1)
    end(store, room=1)

    deadline = time.monotonic() + 0.2
    while not told.jobs and time.monotonic() < deadline:
        put(store)
    assert [job.id for job in told.jobs] == [second]
