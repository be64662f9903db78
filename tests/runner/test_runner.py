"""A real runner, threads and all: from a submit to a result."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millhand.core import JobCancelled, JobFailed, JobState, StoreError
from millhand.jobs import JobHandle, Jobs, current_job
from millhand.policy import Backoff, Retry
from millhand.runner import Runner
from tests.jobs.ledger import assert_counts_add_up
from tests.runner.fakes import RecordingStore

SOON = Retry(backoff=Backoff(base=0.001, cap=0.002))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(f"sqlite:///{tmp_path}/work.db") as jobs:
        yield jobs
        assert_counts_add_up(jobs.store)


class Door:
    """Holds a job's function until the test opens it."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def pass_through(self) -> str:
        self.entered.set()
        assert self.open.wait(10)
        return "through"


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "it did not come to pass within 10 s"
        threading.Event().wait(0.002)


def add(a: int, b: int) -> int:
    return a + b


def test_a_submitted_call_is_run_and_its_result_read(jobs: Jobs) -> None:
    jobs.register(add)

    with Runner(jobs, workers=2):
        result = jobs.submit(add, 40, b=2).result(timeout=10)

    assert result == 42


def test_what_was_submitted_before_the_runner_came_is_run_too(jobs: Jobs) -> None:
    jobs.register(add)
    handles = [jobs.submit(add, n, n) for n in range(30)]

    with Runner(jobs, workers=4):
        results = [handle.result(timeout=10) for handle in handles]

    assert results == [2 * n for n in range(30)]


def test_a_function_knows_which_job_it_runs_for(jobs: Jobs) -> None:
    @jobs.register
    def look() -> list[Any]:
        job = current_job()
        return [job.id, job.type, job.attempt, job.max_attempts, job.token, job.cancel_requested]

    with Runner(jobs):
        handle = jobs.with_options(max_attempts=3).submit(look)

        assert handle.result(timeout=10) == [handle.id, "look", 1, 3, 1, False]


def test_a_failing_job_is_tried_again_with_backoff_until_it_succeeds(jobs: Jobs) -> None:
    @jobs.register(retry=SOON, max_attempts=4)
    def third_time_lucky() -> int:
        if current_job().attempt < 3:
            raise ConnectionError("not yet")
        return current_job().attempt

    with Runner(jobs):
        handle = jobs.submit(third_time_lucky)

        assert handle.result(timeout=10) == 3

    job = handle.read()
    assert (job.attempt, job.token, job.error) == (3, 3, None)


def test_a_job_that_always_fails_ends_with_the_traceback_of_its_last_attempt(jobs: Jobs) -> None:
    attempts: list[int] = []

    @jobs.register(retry=SOON, max_attempts=3)
    def never_lucky() -> None:
        attempts.append(current_job().attempt)
        raise ValueError(f"attempt {attempts[-1]} failed")

    with Runner(jobs), pytest.raises(JobFailed, match="attempt 3 failed") as caught:
        jobs.submit(never_lucky).result(timeout=10)

    assert attempts == [1, 2, 3]
    assert caught.value.error.type == "ValueError"
    assert "in never_lucky" in caught.value.error.traceback


class Mute(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("I cannot speak")


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), MemoryError(), OSError("no file \udcff"), Mute()],
    ids=["exit", "interrupt", "memory", "odd file name", "mute"],
)
def test_a_bad_job_hurts_only_itself(jobs: Jobs, error: BaseException) -> None:
    def fail() -> None:
        raise error

    jobs.register("bad", max_attempts=1)(fail)
    jobs.register(add)
    with Runner(jobs, workers=1) as runner:
        bad, good = jobs.submit("bad"), [jobs.submit(add, n, 1) for n in range(3)]

        outcomes = [outcome_of(handle) for handle in (bad, *good)]
        runner.stop(grace=0.0)

    assert outcomes == ["JobFailed", 1, 2, 3]


def test_a_job_whose_result_cannot_be_kept_fails_for_good(jobs: Jobs) -> None:
    jobs.register("object")(object)

    with Runner(jobs), pytest.raises(JobFailed, match="BadResult"):
        jobs.submit("object").result(timeout=10)


def outcome_of(handle: JobHandle) -> Any:
    try:
        return handle.result(timeout=2)
    except Exception as error:
        return type(error).__name__


def test_a_payload_of_another_version_of_the_function_fails_its_job_alone(jobs: Jobs) -> None:
    jobs.register("plus")(add)
    old = jobs.draft("plus", '{"a":1,"b":2}')
    jobs.store.intake.enqueue([type(old)(id=old.id, type="plus", payload='{"a":"x"}')])

    with Runner(jobs), pytest.raises(JobFailed, match="BadArguments"):
        jobs.handle(old.id).result(timeout=10)

    assert jobs.handle(old.id).read().attempt == 1


def test_a_job_that_waits_can_be_cancelled(jobs: Jobs) -> None:
    door, ran = Door(), []
    jobs.register("door")(door.pass_through)
    jobs.register("late")(lambda: ran.append(1))
    with Runner(jobs, workers=1):
        first = jobs.submit("door")
        assert door.entered.wait(10)
        late = jobs.submit("late")

        cancelled = late.cancel()
        door.open.set()

        assert first.result(timeout=10) == "through"
        with pytest.raises(JobCancelled):
            late.result(timeout=10)

    assert cancelled
    assert ran == []


def test_a_job_that_runs_can_be_cancelled_if_it_looks(jobs: Jobs) -> None:
    running = threading.Event()

    @jobs.register
    def patient() -> None:
        running.set()
        wait_until(lambda: current_job().cancel_requested)
        raise InterruptedError("told to stop")

    with Runner(jobs):
        handle = jobs.submit(patient)
        assert running.wait(10)

        assert handle.cancel()
        with pytest.raises(JobCancelled):
            handle.result(timeout=10)


def test_a_job_that_exceeds_its_time_fails_as_timed_out(jobs: Jobs) -> None:
    door = Door()
    jobs.register("door", timeout=0.05, max_attempts=1)(door.pass_through)

    with Runner(jobs):
        handle = jobs.submit("door")
        with pytest.raises(JobFailed, match=r"TimedOut: still running after 0\.05 s"):
            handle.result(timeout=10)
        door.open.set()


def test_a_job_without_a_limit_of_its_own_gets_the_runners(jobs: Jobs) -> None:
    door = Door()
    jobs.register("door", max_attempts=1)(door.pass_through)

    with Runner(jobs, job_timeout=0.05):
        handle = jobs.submit("door")
        try:
            with pytest.raises(JobFailed, match="TimedOut"):
                handle.result(timeout=0.2)
        finally:
            door.open.set()


@pytest.mark.slow
def test_stopping_gives_back_what_has_not_begun_and_waits_for_what_has(jobs: Jobs) -> None:
    door = Door()
    jobs.register("door")(door.pass_through)
    jobs.register(add)
    quick = [jobs.submit(add, n, 0) for n in range(40)]  # so quick that it claims ahead
    running = jobs.submit("door")
    waiting = [jobs.submit("door") for _ in range(3)]
    runner = Runner(jobs, workers=1).start()
    assert door.entered.wait(10)
    stopping = threading.Thread(target=runner.stop)

    stopping.start()
    stopping.join(0.05)
    was_waiting = stopping.is_alive()
    door.open.set()
    stopping.join(10)

    assert (was_waiting, stopping.is_alive()) == (True, False)
    assert {handle.state for handle in (*quick, running)} == {JobState.COMPLETED}
    assert [(handle.state, handle.read().attempt) for handle in waiting] == [(JobState.PENDING, 0)] * 3


def test_what_still_runs_after_the_grace_is_told_to_stop_and_given_back_uncounted(jobs: Jobs) -> None:
    told, entered = threading.Event(), threading.Event()

    @jobs.register
    def stubborn() -> str:
        entered.set()
        wait_until(lambda: current_job().cancel_requested)
        told.set()
        return "too late"

    runner = Runner(jobs, workers=1).start()
    handle = jobs.submit(stubborn)
    assert entered.wait(10)

    runner.stop(grace=0.0)

    assert told.wait(10)
    assert (handle.state, handle.read().attempt) == (JobState.PENDING, 0)
    assert jobs.store.reading.totals()["stale_finishes_rejected"] == 0


def test_stopping_is_idempotent_and_leaves_no_thread_and_no_runner_behind(jobs: Jobs) -> None:
    jobs.register(add)
    jobs.submit(add, 0, 0)
    before = set(threading.enumerate())
    runner = Runner(jobs, workers=3).start()
    jobs.submit(add, 1, 2).result(timeout=10)
    during = [row.id for row in jobs.store.reading.runners()]

    runner.stop()
    runner.stop()

    wait_until(lambda: left_behind(before) == set())
    assert during == [runner.id]
    assert jobs.store.reading.runners() == []


def left_behind(before: set[threading.Thread]) -> set[str]:
    # The watch belongs to the Jobs, which is still open.
    return {thread.name for thread in set(threading.enumerate()) - before} - {"millhand-watch"}


def test_stopping_what_never_started_is_no_fault(jobs: Jobs) -> None:
    Runner(jobs).stop()


def test_an_exception_in_the_block_stops_it_too(jobs: Jobs) -> None:
    before = set(threading.enumerate())

    with pytest.raises(ZeroDivisionError), Runner(jobs):
        raise ZeroDivisionError

    wait_until(lambda: left_behind(before) - {"millhand-writer work.db"} == set())


def test_a_runner_declares_its_types(jobs: Jobs) -> None:
    jobs.register(add)
    jobs.register("job-*")(lambda: None)

    with Runner(jobs):
        assert jobs.store.reading.types() == ["add", "job-*"]


def test_a_runner_under_a_supervisor_neither_announces_nor_retires(jobs: Jobs) -> None:
    jobs.register(add)
    jobs.store.housekeeping.announce("r-given", lease=15.0)

    with Runner(jobs, id="r-given"):
        assert jobs.submit(add, 1, 1).result(timeout=10) == 2

    assert [row.id for row in jobs.store.reading.runners()] == ["r-given"]


@pytest.mark.parametrize("workers", [0, -1])
def test_a_runner_without_workers_is_refused(jobs: Jobs, workers: int) -> None:
    with pytest.raises(ValueError, match="workers must be at least 1"):
        Runner(jobs, workers=workers)


def test_a_delayed_job_runs_when_it_is_due(jobs: Jobs) -> None:
    jobs.register(add)

    with Runner(jobs):
        handle = jobs.with_options(delay=0.02).submit(add, 1, 1)

        assert handle.result(timeout=10) == 2

    job = handle.read()
    assert job.started_at is not None
    assert job.started_at >= job.run_at


@pytest.mark.slow
def test_two_runners_share_the_work_and_run_nothing_twice(tmp_path: Path) -> None:
    ran: list[str] = []
    url = f"sqlite:///{tmp_path}/work.db"
    with Jobs(url) as first, Jobs(url) as second:
        for jobs in (first, second):
            jobs.register("note")(lambda: ran.append(current_job().id))
        with Runner(first, workers=3), Runner(second, workers=3):
            handles = [(first, second)[n % 2].submit("note") for n in range(200)]
            for handle in handles:
                handle.result(timeout=10)
        counts = first.store.reading.counts()
        assert_counts_add_up(first.store)

    assert Counter(ran) == Counter({handle.id: 1 for handle in handles})
    assert counts[JobState.COMPLETED] == 200


@pytest.mark.slow
def test_a_runner_finds_what_another_process_enqueues_though_it_was_idle(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    with Jobs(url) as here, Jobs(url) as elsewhere:
        for jobs in (here, elsewhere):
            jobs.register(add)
        with Runner(here):
            results = [elsewhere.submit(add, n, 0).result(timeout=10) for n in range(20)]

    assert results == list(range(20))


def test_jobs_that_could_not_be_given_back_are_not_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refused the release and then took the retirement: nobody would ever have rescued the job."""
    door = Door()
    jobs.register("door")(door.pass_through)
    real = jobs.store
    recording = RecordingStore(real)
    monkeypatch.setattr(Jobs, "store", property(lambda self: recording))
    runner = Runner(jobs, workers=1).start()
    monkeypatch.undo()
    handle = jobs.submit("door")
    assert door.entered.wait(10)

    recording.refused.add("release")
    runner.stop(grace=0.0)
    recording.refused.clear()
    door.open.set()

    state, runners = handle.state, [row.id for row in real.reading.runners()]
    assert state is JobState.PENDING or runners == [runner.id]
    real.claims.rescue(dead=[runner.id], expired=False)
    assert handle.state is JobState.PENDING


def test_a_store_that_refuses_at_the_end_holds_nobody_up(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.register(add)
    recording = RecordingStore(jobs.store)
    monkeypatch.setattr(Jobs, "store", property(lambda self: recording))
    runner = Runner(jobs, workers=1)
    monkeypatch.undo()
    recording.refused.add("finish")
    runner.start()
    handle = jobs.submit(add, 1, 1)
    wait_until(lambda: len(recording.of("finish")) > 0)

    runner.stop(grace=0.0)

    assert "could not be brought back" in caplog.text
    assert (handle.state, handle.read().attempt) == (JobState.PENDING, 0)


def test_a_runner_that_cannot_retire_says_so(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Runner(jobs, workers=1).start()

    def refuse(runner: str) -> None:
        raise StoreError("away")

    monkeypatch.setattr(jobs.store.housekeeping, "retire", refuse)
    runner.stop()

    assert "could not retire" in caplog.text
