"""The front door of kept jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from millhand.core import BadArguments, JobState, QueueFull, StoreError, UnknownJobType
from millhand.jobs import JobOptions, Jobs, open_store
from millhand.jobs.ids import new_id
from millhand.policy import Backoff, Retry


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    with Jobs("sqlite://") as jobs:
        yield jobs


def add(a: int, b: int = 2) -> int:
    return a + b


def test_registering_returns_the_function_unchanged(jobs: Jobs) -> None:
    assert jobs.register(add) is add
    assert jobs.register("plus")(add) is add
    assert jobs.register("sum-*", timeout=1.0, max_attempts=2, retry=Retry(backoff=Backoff(base=9.0)))(add) is add
    assert jobs.register(max_attempts=7)(jobs_of_its_own) is jobs_of_its_own

    assert jobs.registry.names == ["add", "jobs_of_its_own", "plus", "sum-*"]
    plus, several = jobs.registry.get("plus"), jobs.registry.get("sum-1")
    assert (plus.timeout, plus.max_attempts) == (None, 5)
    assert (several.timeout, several.max_attempts, several.retry) == (1.0, 2, Retry(backoff=Backoff(base=9.0)))


def jobs_of_its_own() -> None: ...


def test_a_submitted_call_is_kept_with_its_arguments_by_name(jobs: Jobs) -> None:
    jobs.register(add)

    handle = jobs.submit(add, 40, b=1)

    job = handle.read()
    assert (job.type, job.payload, job.state) == ("add", '{"a":40,"b":1}', JobState.PENDING)


def test_a_call_can_be_submitted_by_name_and_by_one_that_fits_a_glob(jobs: Jobs) -> None:
    jobs.register("sum-*")(add)

    assert jobs.submit("sum-7", 1).read().type == "sum-7"


def test_options_go_with_every_submit_of_a_view(jobs: Jobs) -> None:
    jobs.register(add)
    view = jobs.with_options(queue="bulk", priority=3, delay=60.0, timeout=1.5, max_attempts=2)

    first, second = view.submit(add, 1).read(), view.submit("add", 2).read()

    for job in (first, second):
        assert (job.queue, job.priority, job.timeout, job.max_attempts) == ("bulk", 3, 1.5, 2)
        assert (job.state, job.run_at - job.submitted_at) == (JobState.SCHEDULED, pytest.approx(60, abs=1e-3))


def test_options_that_make_no_sense_are_refused_before_any_submit(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="priority"):
        jobs.with_options(priority=10**7)


def test_arguments_that_do_not_fit_are_refused_and_nothing_is_kept(jobs: Jobs) -> None:
    jobs.register(add)

    with pytest.raises(BadArguments, match="Expected `int`"):
        jobs.submit(add, "one")

    assert sum(jobs.store.reading.counts().values()) == 0


@pytest.mark.parametrize("function", [add, "add"])
def test_an_unknown_function_or_name_is_refused(jobs: Jobs, function: object) -> None:
    with pytest.raises(UnknownJobType, match="add"):
        jobs.submit(function, 1)


def test_a_limit_refuses_what_is_too_much() -> None:
    with Jobs("sqlite://", limit=2) as jobs:
        jobs.register(add)
        jobs.submit(add, 1)
        jobs.submit(add, 2)

        with pytest.raises(QueueFull) as caught:
            jobs.submit(add, 3)

        assert (caught.value.waiting, caught.value.limit) == (2, 2)
        assert jobs.store.reading.counts()[JobState.PENDING] == 2


def test_a_draft_is_checked_by_the_functions_signature(jobs: Jobs) -> None:
    jobs.register("plus", timeout=3.0, max_attempts=2)(add)
    id = new_id()

    job = jobs.draft("plus", b"[1]", JobOptions(queue="q"), id=id)

    assert (job.id, job.type, job.payload, job.queue) == (id, "plus", '{"a":1}', "q")
    assert (job.timeout, job.max_attempts) == (3.0, 2)
    with pytest.raises(BadArguments):
        jobs.draft("plus", '{"a":"one"}')
    with pytest.raises(ValueError, match="UUID"):
        jobs.draft("plus", "[1]", id="mine")


def test_a_draft_of_a_type_that_only_a_runner_elsewhere_knows_is_taken_as_it_is(jobs: Jobs) -> None:
    jobs.store.housekeeping.declare_types(["mail", "job-*"])

    assert jobs.draft("mail", '{"to":"ada"}').payload == '{"to":"ada"}'
    assert jobs.draft("job-1", None).payload == "{}"
    with pytest.raises(BadArguments):
        jobs.draft("mail", "nonsense")


def test_a_draft_of_a_type_nobody_knows_is_refused_with_those_that_are_known(jobs: Jobs) -> None:
    jobs.register(add)
    jobs.store.housekeeping.declare_types(["mail"])

    with pytest.raises(UnknownJobType, match="add, mail"):
        jobs.draft("male", None)


def test_making_one_and_registering_touch_no_database(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path}/work.db")
    jobs.register(add)
    untouched = list(tmp_path.iterdir())

    jobs.submit(add, 1)

    assert untouched == []
    assert (tmp_path / "work.db").exists()
    jobs.close()


def test_another_database_can_be_chosen_until_it_is_opened(tmp_path: Path) -> None:
    jobs = Jobs("sqlite:///never-made.db")
    jobs.register(add)

    jobs.move_to(f"sqlite:///{tmp_path}/work.db")
    jobs.submit(add, 1)

    assert jobs.url == f"sqlite:///{tmp_path}/work.db"
    assert (tmp_path / "work.db").exists()
    with pytest.raises(ValueError, match="in use already"):
        jobs.move_to("sqlite://")
    jobs.close()


def test_a_store_can_be_opened_by_its_url_alone(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/work.db")

    assert store.reading.types() == []
    store.housekeeping.close()


def test_a_url_that_names_no_database_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="sqlite:///"):
        Jobs("mysql://db/work")


def test_a_database_that_cannot_be_opened_is_told_when_it_is_first_used(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path}/missing/work.db")
    jobs.register(add)

    with pytest.raises(StoreError, match="missing"):
        jobs.submit(add, 1)

    jobs.close()


def test_jobs_stay_when_it_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    with Jobs(url) as first:
        first.register(add)
        handle = first.submit(add, 1)

    with Jobs(url) as second:
        assert second.handle(handle.id).state is JobState.PENDING


def test_closing_is_idempotent_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    jobs = Jobs("sqlite://")
    jobs.register(add)
    with pytest.raises(TimeoutError):
        jobs.submit(add, 1).result(timeout=0.0)

    jobs.close()
    jobs.close()

    assert set(threading.enumerate()) == before


def test_closing_one_that_was_never_opened_is_no_fault() -> None:
    Jobs("sqlite://").close()


def test_a_store_error_follows_the_handle_of_a_closed_one() -> None:
    jobs = Jobs("sqlite://")
    jobs.register(add)
    handle = jobs.submit(add, 1)
    jobs.close()

    with pytest.raises(StoreError):
        handle.cancel()


def test_many_threads_open_one_database() -> None:
    stores: list[object] = []
    together = threading.Barrier(8)
    with Jobs("sqlite://") as jobs:

        def look() -> None:
            together.wait()
            stores.append(jobs.store)

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(stores) == 8
        assert len(set(map(id, stores))) == 1
