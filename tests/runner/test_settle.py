"""Settling: outcomes are brought back in batches, and none is lost while the store refuses."""

from __future__ import annotations

import math

import pytest

from millhand.core import ErrorInfo, JobState
from millhand.core.outcome import Done, Failed, Snoozed
from millhand.runner.settle import BATCH_LIMIT, TRY_AGAIN_AFTER
from tests.runner.conftest import Bench, MakeBench
from tests.runner.fakes import CountingBell

NEVER = math.inf


def finished(bench: Bench) -> list[int]:
    """How many endings each finish brought."""
    return [len(asked["args"][0]) for asked in bench.store.of("finish")]


def test_outcomes_that_gathered_go_back_in_one_batch(make_bench: MakeBench) -> None:
    bench = make_bench(workers=5)
    ids = bench.put(*["note"] * 4, "fail")
    bench.claim()
    bench.pool.run()

    due = bench.settle()

    assert due == NEVER
    assert finished(bench) == [5]
    assert bench.states(ids) == [JobState.COMPLETED] * 4 + [JobState.SCHEDULED]


def test_every_outcome_rings(bench: Bench) -> None:
    bell = bench.duties.settle.bell
    assert isinstance(bell, CountingBell)
    bench.put("note", "note")
    bench.claim()

    bench.pool.run()

    assert bell.rings == 2


def test_without_outcomes_the_store_is_left_alone(bench: Bench) -> None:
    assert bench.settle() == NEVER
    assert finished(bench) == []


def test_a_very_long_queue_of_outcomes_goes_back_in_several_batches(make_bench: MakeBench) -> None:
    bench = make_bench(workers=BATCH_LIMIT + 5)
    ids = bench.put(*["note"] * (BATCH_LIMIT + 5))
    bench.claim()
    bench.pool.run()

    dues = [bench.settle(), bench.settle()]

    assert dues == [bench.clock.time, NEVER]
    assert finished(bench) == [BATCH_LIMIT, 5]
    assert set(bench.states(ids)) == {JobState.COMPLETED}


def test_a_failed_attempt_is_tried_again_until_its_attempts_are_spent(bench: Bench) -> None:
    [id] = bench.put("fail", max_attempts=3)
    states = []

    for _ in range(3):
        bench.duties.claim.note_arrival()
        bench.claim()
        bench.pool.run()
        bench.settle()
        states.append(bench.state(id))

    assert states == [JobState.SCHEDULED, JobState.SCHEDULED, JobState.FAILED]
    job = bench.job(id)
    assert job.attempt == 3
    assert job.error is not None
    assert job.error.message == "boom"


def test_a_snoozed_attempt_waits_and_does_not_count(bench: Bench) -> None:
    [id] = bench.put("note")
    bench.claim()
    [attempt] = bench.duties.attempts.held

    bench.duties.settle.add(attempt, Snoozed(3_600.0))
    bench.settle()

    job = bench.job(id)
    assert (job.state, job.attempt) == (JobState.SCHEDULED, 0)
    assert job.run_at - job.submitted_at > 3_000


def test_outcomes_that_the_store_refuses_are_kept_and_brought_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ids = bench.put("note", "note")
    bench.claim()
    bench.pool.run(1)
    bench.store.refused.add("finish")

    due = bench.settle()
    bench.pool.run()
    bench.settle()
    held = bench.duties.settle.held
    bench.store.refused.clear()
    bench.settle()

    assert due == bench.clock.time + TRY_AGAIN_AFTER
    assert [id for id, _ in held] == ids
    assert "finished jobs wait for the store" in caplog.text
    assert bench.states(ids) == [JobState.COMPLETED] * 2
    assert bench.duties.settle.held == []


def test_an_outcome_whose_answer_got_lost_is_brought_again(bench: Bench) -> None:
    """The commit happened, the answer did not arrive: repeating a finish is safe."""
    [id] = bench.put("note")
    bench.claim()
    bench.pool.run()
    bench.store.refused.add("finish")
    bench.settle()
    [(_, token)] = bench.duties.settle.held
    [asked] = bench.store.of("finish")
    assert bench.store.real.finish(asked["args"][0]) == [True]

    bench.store.refused.clear()
    bench.settle()

    assert (bench.state(id), token) == (JobState.COMPLETED, 1)
    assert bench.store.reading.totals()["stale_finishes_rejected"] == 0


def test_a_stale_outcome_is_dropped_with_a_word(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.housekeeping.announce("r1", lease=15.0)
    [id] = bench.put("note")
    bench.claim()
    bench.store.claims.rescue(dead=["r1"], expired=False)
    bench.pool.run()

    due = bench.settle()

    assert due == NEVER
    assert bench.duties.settle.held == []
    assert bench.state(id) is JobState.PENDING
    assert f"token 1 of job {id} is stale" in caplog.text


def test_what_is_held_says_which_jobs_are_on_their_way_back(bench: Bench) -> None:
    ids = bench.put("note", "fail")
    bench.claim()
    bench.pool.run()

    assert bench.duties.settle.held == [(ids[0], 1), (ids[1], 1)]
    bench.settle()
    assert bench.duties.settle.held == []


@pytest.mark.parametrize(
    "outcome",
    [Failed(ErrorInfo("OSError", "no file \udcff")), Failed(ErrorInfo("E", "x", "trace \udcff"))],
    ids=["message", "traceback"],
)
def test_an_outcome_that_cannot_be_written_blocks_no_other(bench: Bench, outcome: Failed) -> None:
    """A job that failed over a file name in another encoding kept every later outcome of its runner from the store."""
    bench.put("note", "note")
    bench.claim()
    odd, plain = bench.duties.attempts.held

    bench.duties.settle.add(odd, outcome)
    bench.duties.settle.add(plain, Done("1"))
    bench.settle()
    bench.settle()

    assert bench.state(plain.job.id) is JobState.COMPLETED
    assert bench.state(odd.job.id) is JobState.SCHEDULED
