"""Comparing what the store says this runner holds with what it does hold."""

from __future__ import annotations

import threading

import pytest

from millhand.core import JobState
from millhand.runner.reconcile import RECONCILE_EVERY
from tests.runner.conftest import Bench, MakeBench


def compare(bench: Bench) -> float:
    """Let the time for a comparison come, and compare."""
    bench.duties.reconcile.step(bench.clock.monotonic())
    return bench.duties.reconcile.step(bench.clock.advance(RECONCILE_EVERY))


def test_a_job_whose_claim_never_arrived_is_given_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    [id] = bench.put("note")
    bench.store.claims.claim("r1", room=1, types=["note"])

    compare(bench)

    assert (bench.state(id), bench.job(id).attempt) == (JobState.PENDING, 0)
    assert "1 jobs were listed under runner r1 without its knowledge" in caplog.text


def test_jobs_that_wait_run_or_are_on_their_way_back_are_kept(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench(workers=4)
    ids = bench.put(*["note"] * 4)
    bench.claim()
    bench.pool.tasks[0].begin()
    bench.store.refused.add("finish")
    bench.pool.tasks[1].run()
    bench.settle()  # refused: it stays with Settle, unsent
    bench.pool.tasks[2].run()

    compare(bench)

    assert bench.states(ids) == [JobState.PROCESSING] * 4
    assert "without its knowledge" not in caplog.text


def test_it_compares_every_fifteen_seconds_and_not_at_the_start(bench: Bench) -> None:
    step = bench.duties.reconcile.step

    dues = [step(1_000.0), step(1_014.9), step(1_015.0), step(1_015.1)]

    assert dues == [1_015.0, 1_015.0, 1_030.0, 1_030.0]
    assert len(bench.store.of("reconcile")) == 1


def test_a_store_that_refuses_is_asked_next_time(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.refused.add("reconcile")

    due = compare(bench)

    assert due == bench.clock.time + RECONCILE_EVERY
    assert "could not be compared" in caplog.text


def test_it_waits_for_a_claim_under_way(bench: Bench) -> None:
    """Between the commit of a claim and its jobs' entry in the table they would look unknown."""
    compared = threading.Event()
    comparing = threading.Thread(target=lambda: (compare(bench), compared.set()))
    with bench.duties.claim.claiming:
        comparing.start()
        too_early = compared.wait(0.02)

    assert compared.wait(10)
    assert not too_early
    comparing.join()
