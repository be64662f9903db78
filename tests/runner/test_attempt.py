"""One attempt: however it goes, it ends as exactly one outcome."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from millhand.core import (
    ClaimedJob,
    Done,
    Failed,
    JobState,
    Outcome,
    PoolClosed,
    RetryAfter,
    TaskCancelled,
    TimedOut,
)
from millhand.jobs import JobType, Registry
from millhand.policy import Retry
from millhand.runner.attempt import MAX_TRACEBACK, Attempt, Attempts, run_once
from tests.runner.conftest import AT_ONCE, Bench, MakeBench
from tests.runner.fakes import FakePool


def job_of(function: Callable[..., Any], payload: str = "{}", **fields: Any) -> tuple[ClaimedJob, JobType]:
    job_type = Registry().add(function, "job", retry=AT_ONCE)
    values = {"token": 1, "attempt": 1, "max_attempts": 3, "timeout": None, "rank": 0.0} | fields
    return ClaimedJob("j1", "job", payload, **values), job_type


class Settled:
    """Keeps outcomes, and whether there was a word about the room that became free."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.ends = 0

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def note_end(self) -> None:
        self.ends += 1


@pytest.fixture
def settled() -> Settled:
    return Settled()


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def attempts(pool: FakePool, settled: Settled) -> Attempts:
    return Attempts(pool, settled.settle, settled.note_end)


# ── One run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_is_an_outcome() -> None:
    assert run_once(*job_of(lambda a, b: [a, b], '{"a":1,"b":null}')) == Done("[1,null]")
    assert run_once(*job_of(lambda: None)) == Done("null")


def broken_function() -> None:
    raise ValueError("boom")


def test_an_exception_is_an_outcome_with_its_traceback() -> None:
    outcome = run_once(*job_of(broken_function))

    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.message, outcome.final) == ("ValueError", "boom", False)
    assert "in broken_function" in outcome.error.traceback
    assert outcome.error.traceback.rstrip().endswith("ValueError: boom")
    assert "run_once" not in outcome.error.traceback


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError])
def test_even_an_exit_ends_this_job_alone(kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind("bye")

    outcome = run_once(*job_of(leave))

    assert isinstance(outcome, Failed)
    assert outcome.error.type == kind.__name__


class Mute(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("I cannot speak")


def test_an_exception_that_cannot_say_what_it_is_is_an_outcome_too() -> None:
    """Its job stood in `processing` for as long as the runner lived."""

    def fail() -> None:
        raise Mute

    outcome = run_once(*job_of(fail))

    assert isinstance(outcome, Failed)
    assert outcome.error.type == "Mute"


def test_a_long_traceback_keeps_its_end() -> None:
    def fail() -> None:
        raise ValueError("x" * 2 * MAX_TRACEBACK + "the end")

    outcome = run_once(*job_of(fail))

    assert isinstance(outcome, Failed)
    assert len(outcome.error.traceback) == MAX_TRACEBACK
    assert outcome.error.traceback.rstrip().endswith("the end")


def failed_with(error: BaseException, retry: Retry) -> Failed:
    def fail() -> None:
        raise error

    job, job_type = job_of(fail)
    outcome = run_once(job, replace(job_type, retry=retry))
    assert isinstance(outcome, Failed)
    return outcome


def test_an_exception_that_the_retry_does_not_name_fails_for_good() -> None:
    retry = Retry(retry_on=OSError)

    assert not failed_with(ConnectionError(), retry).final
    assert failed_with(ValueError(), retry).final


def test_a_function_may_ask_for_the_wait() -> None:
    outcome = failed_with(RetryAfter(12.5), Retry(retry_on=OSError))

    assert (outcome.final, outcome.retry_after) == (False, 12.5)


def test_a_function_that_stopped_because_it_was_asked_to_is_not_judged_by_its_exception() -> None:
    """Its attempt timed out, which is to be tried again; the exception only says that it obeyed."""
    assert not failed_with(TaskCancelled("job"), Retry(retry_on=OSError)).final


def test_a_retrys_predicate_that_fails_is_what_the_job_fails_with() -> None:
    def broken(error: BaseException) -> bool:
        raise LookupError("no such thing")

    outcome = failed_with(OSError("boom"), Retry(retry_on=broken))

    assert (outcome.error.type, outcome.final) == ("LookupError", True)
    assert "OSError: boom" in outcome.error.traceback


@pytest.mark.parametrize("payload", ["nonsense", '{"b":1}', "{}", '{"a":"text"}', '{"a":1} x', "[" * 100_000])
def test_arguments_that_do_not_fit_fail_for_good(payload: str) -> None:
    def function(a: int) -> None: ...

    outcome = run_once(*job_of(function, payload))

    assert isinstance(outcome, Failed)
    assert outcome.final


@dataclass
class Picky:
    """An argument whose own check fails in a way that nobody foresaw."""

    name: str

    def __post_init__(self) -> None:
        raise LookupError(self.name)


def test_an_argument_that_fails_in_its_own_way_is_an_outcome_too() -> None:
    def function(a: Picky) -> None: ...

    assert isinstance(run_once(*job_of(function, '{"a":{"name":"x"}}')), Failed)


@pytest.mark.parametrize("value", [object(), {1j}, "\udcff"], ids=repr)
def test_a_result_that_cannot_be_kept_fails_for_good(value: object) -> None:
    outcome = run_once(*job_of(lambda: value))

    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.final) == ("BadResult", True)
    assert "job returned something that cannot be kept" in outcome.error.message


# ── In a pool ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_attempt_is_held_until_it_is_settled(pool: FakePool, attempts: Attempts, settled: Settled) -> None:
    attempts.start(*job_of(lambda: 1))
    before = ([attempt.job.id for attempt in attempts.held], len(attempts))

    pool.run()

    assert before == (["j1"], 1)
    assert (attempts.held, len(attempts)) == ([], 0)
    assert (settled.outcomes, settled.ends) == ([Done("1")], 1)


def test_a_job_is_never_in_neither_of_the_two_tables(pool: FakePool) -> None:
    held_while_settling: list[int] = []
    attempts = Attempts(pool, lambda attempt, outcome: held_while_settling.append(len(attempts)), lambda: None)
    attempts.start(*job_of(lambda: 1))

    pool.run()

    assert held_while_settling == [1]


def test_an_attempt_that_fails_in_an_unforeseen_way_is_still_settled(
    pool: FakePool, attempts: Attempts, settled: Settled
) -> None:
    def fail() -> None:
        raise Mute

    attempts.start(*job_of(fail))

    with contextlib.suppress(RuntimeError):  # a pool keeps it in a future that nobody reads
        pool.run()

    assert len(settled.outcomes) == 1
    assert len(attempts) == 0


def test_a_closed_pool_holds_nothing(pool: FakePool, attempts: Attempts) -> None:
    pool.places = 0

    with pytest.raises(PoolClosed):
        attempts.start(*job_of(lambda: 1))

    assert len(attempts) == 0


def test_a_job_brings_its_own_limit_of_time_or_gets_the_runners(pool: FakePool, settled: Settled) -> None:
    without, with_one = (Attempts(pool, settled.settle, settled.note_end, limit) for limit in (None, 9.0))

    without.start(*job_of(lambda: 1))
    without.start(*job_of(lambda: 1, timeout=2.0))
    with_one.start(*job_of(lambda: 1))
    with_one.start(*job_of(lambda: 1, timeout=2.0))

    assert [task.timeout for task in pool.tasks] == [None, 2.0, 9.0, 2.0]


def test_an_attempt_that_waits_is_cancelled_at_once(bench: Bench) -> None:
    [id] = bench.put("note")
    bench.claim()
    bench.store.control.cancel(id)

    bench.duties.wishes.step(bench.clock.time)
    bench.settle()

    assert bench.state(id) is JobState.CANCELLED
    assert len(bench.duties.attempts) == 0
    bench.pool.run()
    assert bench.effects == []


def test_an_attempt_that_runs_is_asked_to_stop_and_its_own_end_counts(bench: Bench) -> None:
    [id] = bench.put("look")
    bench.claim()
    [task] = bench.pool.tasks
    task.begin()
    bench.store.control.cancel(id)

    bench.duties.wishes.step(bench.clock.time)
    held = len(bench.duties.attempts)
    task.come_back()
    bench.settle()

    assert held == 1
    assert (bench.state(id), bench.job(id).result) == (JobState.COMPLETED, "true")


def test_an_attempt_that_obeys_ends_its_job_as_cancelled(bench: Bench) -> None:
    [id] = bench.put("obey")
    bench.claim()
    [task] = bench.pool.tasks
    task.begin()
    bench.store.control.cancel(id)

    bench.duties.wishes.step(bench.clock.time)
    task.come_back()
    bench.settle()

    assert bench.state(id) is JobState.CANCELLED


def test_cancelling_what_is_not_held_is_no_fault(attempts: Attempts) -> None:
    attempts.cancel("j1")


def test_nobody_is_asked_about_wishes_while_nothing_is_held(bench: Bench) -> None:
    due = bench.duties.wishes.step(bench.clock.time)

    assert bench.store.of("cancel_wishes") == []
    assert due == bench.clock.time + 0.05


def test_a_timed_out_attempt_is_settled_only_when_its_function_comes_back(bench: Bench) -> None:
    """Until then its thread is still inside: a second attempt would run beside it."""
    [id] = bench.put("fail", timeout=1.0, max_attempts=3)
    bench.claim()
    [task] = bench.pool.tasks
    task.begin()
    task.time_out()
    bench.settle()
    meanwhile = (bench.state(id), len(bench.duties.attempts))

    task.come_back()
    bench.settle()

    assert meanwhile == (JobState.PROCESSING, 1)
    job = bench.job(id)
    assert (job.state, job.attempt) == (JobState.SCHEDULED, 1)
    assert job.error is not None
    assert (job.error.type, job.error.message) == ("TimedOut", "still running after 1 s")


def test_a_timed_out_attempt_with_none_left_ends_its_job_at_once(bench: Bench) -> None:
    [id] = bench.put("note", timeout=1.0, max_attempts=1)
    bench.claim()
    [task] = bench.pool.tasks
    task.begin()

    task.time_out()
    bench.settle()

    job = bench.job(id)
    assert (job.state, len(bench.duties.attempts)) == (JobState.FAILED, 0)
    assert job.error is not None
    assert job.error.type == "TimedOut"
    task.come_back()
    bench.settle()
    assert bench.state(id) is JobState.FAILED
    assert bench.store.reading.totals()["stale_finishes_rejected"] == 0


def test_a_timed_out_function_that_comes_back_with_a_value_has_done_its_job(bench: Bench) -> None:
    [id] = bench.put("note", timeout=1.0, max_attempts=3)
    bench.claim()
    [task] = bench.pool.tasks
    task.begin()
    task.time_out()

    task.come_back()
    bench.settle()

    assert bench.state(id) is JobState.COMPLETED


def test_a_function_whose_time_is_up_is_told_to_stop(bench: Bench) -> None:
    [id] = bench.put("look", timeout=1.0, max_attempts=3)
    bench.claim()
    [task] = bench.pool.tasks
    task.begin()
    task.time_out()

    task.come_back()
    bench.settle()

    assert bench.job(id).result == "true"


def test_a_limit_of_time_that_was_kept_changes_nothing(bench: Bench) -> None:
    [id] = bench.put("note", timeout=1.0)
    bench.claim()

    bench.pool.run()
    bench.settle()

    assert bench.state(id) is JobState.COMPLETED


def test_a_cancelled_attempt_with_a_limit_of_time_is_settled_once(bench: Bench) -> None:
    [id] = bench.put("note", timeout=1.0, max_attempts=1)
    bench.claim()

    bench.duties.attempts.cancel(id)
    bench.settle()

    assert bench.state(id) is JobState.CANCELLED
    assert len(bench.store.of("finish")) == 1


def test_what_has_not_begun_can_be_taken_back(bench: Bench) -> None:
    ids = bench.put("note", "note")
    bench.claim()
    bench.pool.tasks[0].begin()

    taken = bench.duties.attempts.take_back()

    assert [job.id for job in taken] == ids[1:]
    assert [attempt.job.id for attempt in bench.duties.attempts.held] == ids[:1]
    bench.pool.run()
    assert bench.effects == []


def test_what_was_abandoned_is_told_to_stop_and_its_end_is_dropped(bench: Bench) -> None:
    ids = bench.put("look", "note")
    bench.claim()
    attempts = bench.duties.attempts.held
    for task in bench.pool.tasks:
        task.begin()

    abandoned = bench.duties.attempts.abandon()
    for task in bench.pool.tasks:
        task.come_back()

    assert [job.id for job in abandoned] == ids
    assert all(attempt.current.cancel_requested for attempt in attempts)
    assert len(bench.duties.attempts) == 0
    assert bench.duties.settle.held == []


def test_who_ends_an_attempt_is_decided_once() -> None:
    job, job_type = job_of(lambda: 1)
    takers: list[bool] = []
    attempt = Attempt(job, job_type, None)
    together = threading.Barrier(8)

    def take() -> None:
        together.wait()
        takers.append(attempt.take_ticket())

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(takers) == [False] * 7 + [True]


def test_an_attempt_that_runs_on_after_its_job_was_claimed_anew_leaves_the_new_one_alone(make_bench: MakeBench) -> None:
    """The runner was taken for dead, its job rescued, and the same runner, alive again, claimed it once more."""
    bench = make_bench(workers=4)
    [id] = bench.put("note")
    bench.claim()
    [zombie] = bench.pool.tasks
    zombie.begin()
    bench.store.claims.rescue(dead=["r1"], expired=False)
    bench.store.housekeeping.announce("r1", lease=15.0)
    bench.duties.claim.note_arrival()
    bench.claim()
    _, owner = bench.pool.tasks

    zombie.come_back()
    after_zombie = [attempt.job.token for attempt in bench.duties.attempts.held]
    bench.settle()
    owner.run()
    bench.settle()

    assert after_zombie == [3]
    assert bench.state(id) is JobState.COMPLETED
    assert len(bench.duties.attempts) == 0


def test_a_time_out_is_an_outcome_with_its_limit(pool: FakePool, attempts: Attempts, settled: Settled) -> None:
    attempts.start(*job_of(broken_function, timeout=1.5))
    [task] = pool.tasks
    task.begin()
    task.time_out()

    task.come_back()

    assert settled.outcomes == [TimedOut(1.5)]
