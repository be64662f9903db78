"""Claiming: as many jobs as there is room for, never more, and soon after they have come."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from millhand.core import JobState
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.store import Claim
from millhand.runner.claim import BUSY_LOOK, IDLE_LOOK, LOOK_AHEAD_LIMIT, TRY_AGAIN_AFTER, ClaimDuty, Pace
from tests.jobs.ledger import draft, put
from tests.runner.conftest import Bench, MakeBench
from tests.runner.fakes import CountingBell

NEVER = math.inf


def rings(bench: Bench) -> int:
    bell = bench.duties.claim.bell
    assert isinstance(bell, CountingBell)
    return bell.rings


def rooms(bench: Bench) -> list[int]:
    return [asked["room"] for asked in bench.store.of("claim")]


def test_the_first_claim_asks_for_as_many_jobs_as_there_are_workers(make_bench: MakeBench) -> None:
    bench = make_bench(workers=3)
    bench.put(*["note"] * 10)

    bench.claim()

    assert rooms(bench) == [3]
    assert len(bench.pool.tasks) == 3


def test_it_claims_for_its_runner_and_the_types_registered_here(bench: Bench) -> None:
    bench.registry.add(lambda: None, "job-*")

    bench.claim()

    [asked] = bench.store.of("claim")
    assert asked["args"] == ("r1",)
    assert asked["types"] == ["fail", "job-*", "look", "note", "obey"]


def test_nothing_is_claimed_while_every_worker_has_a_job(bench: Bench) -> None:
    bench.put(*["note"] * 5)
    bench.claim()

    due = bench.claim()

    assert due == NEVER
    assert len(rooms(bench)) == 1


def test_the_place_of_a_job_that_has_ended_is_filled(bench: Bench) -> None:
    bench.put(*["note"] * 5)
    bench.claim()
    bench.claim()
    before = rings(bench)
    bench.clock.advance(1.0)  # a second for one job: not worth claiming ahead

    bench.pool.run(1)
    bench.claim()

    assert rings(bench) == before + 1
    assert rooms(bench) == [2, 1]
    assert len(bench.duties.attempts) == 2


def test_what_was_not_settled_yet_no_longer_takes_up_room(bench: Bench) -> None:
    bench.put(*["note"] * 4)
    bench.claim()
    bench.claim()
    bench.clock.advance(1.0)
    bench.pool.run()

    bench.claim()

    assert len(bench.pool.waiting) == 2
    assert len(bench.duties.settle.held) == 2


@pytest.mark.parametrize(("ended", "seconds", "ahead"), [(200, 0.125, 32), (25, 0.125, 4), (1, 1.0, 0), (50, 2.0, 0)])
def test_short_jobs_are_claimed_ahead_for_twenty_milliseconds(
    make_bench: MakeBench, ended: int, seconds: float, ahead: int
) -> None:
    bench = make_bench(workers=ended)
    bench.put(*["note"] * 3 * ended)
    bench.claim()
    bench.claim()
    bench.pool.run()
    bench.clock.advance(seconds)

    bench.claim()

    assert rooms(bench)[-1] == ended + ahead
    assert len(bench.duties.attempts) == ended + ahead


def test_it_never_holds_more_than_its_workers_and_what_is_ahead(make_bench: MakeBench) -> None:
    bench = make_bench(workers=4)
    bench.put(*["note"] * 300)

    for step in range(200):
        bench.claim()
        ahead = rooms(bench)[-1] - 4 if rooms(bench) else 0
        assert len(bench.duties.attempts) <= 4 + max(ahead, 0) + 4
        if step % 3 == 0:
            bench.pool.run(2)
        bench.clock.advance(0.010)

    fastest = 4 / 0.010  # jobs a second that two calls every 30 ms can never reach
    assert max(rooms(bench)) <= 4 + fastest * 0.02


def test_a_sudden_rush_is_bounded_too() -> None:
    pace = Pace()
    pace.update(0, 1_000.0)

    rate = pace.update(10**9, 1_000.001)

    assert min(LOOK_AHEAD_LIMIT, int(rate * 0.02)) == LOOK_AHEAD_LIMIT


def test_the_pace_follows_within_a_tenth_of_a_second_and_ignores_a_clock_that_stands() -> None:
    pace = Pace()
    pace.update(0, 1_000.0)

    fast = pace.update(100, 1_000.1)
    standing = pace.update(100, 1_000.1)
    slow = pace.update(0, 1_001.0)

    assert fast == pytest.approx(1_000)
    assert standing == fast
    assert slow == 0.0


def test_an_idle_runner_looks_every_two_milliseconds_and_backs_off_to_ten(bench: Bench) -> None:
    first = bench.claim()

    waits = []
    for _ in range(30):
        bench.clock.advance(0.002)
        waits.append(bench.claim() - bench.clock.time)

    assert first == pytest.approx(bench.clock.time - 30 * 0.002 + BUSY_LOOK)
    assert waits == sorted(waits)
    assert waits[0] < 2 * BUSY_LOOK
    assert waits[-1] == pytest.approx(IDLE_LOOK)
    assert len(rooms(bench)) <= 2


def test_an_idle_runner_claims_only_when_something_has_arrived(bench: Bench) -> None:
    bench.claim()
    bench.claim()
    before = len(rooms(bench))
    for _ in range(5):
        bench.claim()
    idle = len(rooms(bench))

    bench.put("note")
    bench.claim()

    assert idle == before
    assert len(rooms(bench)) == before + 1
    assert len(bench.pool.tasks) == 1


def test_a_commit_that_makes_nothing_claimable_starts_no_claim(bench: Bench) -> None:
    bench.claim()
    bench.claim()
    before = len(rooms(bench))

    bench.store.housekeeping.declare_types(["other"])
    bench.claim()

    assert len(rooms(bench)) == before


def test_what_another_process_enqueued_is_found_by_the_next_look(bench: Bench, tmp_path: Path) -> None:
    bench.claim()
    bench.claim()
    other = SqliteStore(tmp_path / "jobs.db", threaded=False)

    put(other, draft("note"))
    bench.claim()

    assert len(bench.pool.tasks) == 1
    other.housekeeping.close()


def test_an_arrival_in_this_process_rings(bench: Bench) -> None:
    bench.claim()
    bench.claim()
    before = len(rooms(bench))

    bench.duties.claim.note_arrival()
    bench.claim()

    assert rings(bench) == 1
    assert len(rooms(bench)) == before + 1


def test_after_a_full_claim_the_next_look_is_at_once(bench: Bench) -> None:
    bench.put(*["note"] * 3)

    assert bench.claim() == bench.clock.time


def test_a_runner_that_claimed_ahead_and_then_slowed_down_still_finds_what_comes_later(make_bench: MakeBench) -> None:
    """It held fewer jobs than it had asked for, then more than it had room for, and slept for ever."""
    bench = make_bench(workers=50)
    bench.put(*["note"] * 105)
    bench.claim()
    bench.claim()
    bench.pool.run()
    bench.clock.advance(0.125)
    bench.claim()  # 400 jobs a second: 8 are claimed ahead, so it takes all 55 and knows that no more waits
    assert (rooms(bench)[-1], len(bench.duties.attempts)) == (58, 55)
    bench.clock.advance(5.0)
    asleep_until = bench.claim()  # nothing has ended in 5 s: no look-ahead any more, and 55 jobs for 50 workers
    before = rings(bench)

    bench.pool.run()

    assert rings(bench) > before or asleep_until < NEVER


class EndAfterCounting:
    """Attempts that all end right after they were counted."""

    def __init__(self) -> None:
        self.n = 0
        self.note_end: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        n, self.n = self.n, 0
        for _ in range(n):
            self.note_end()
        return n


def test_an_end_between_counting_and_falling_asleep_is_not_missed(bench: Bench) -> None:
    attempts = EndAfterCounting()
    duty = ClaimDuty(bench.store, bench.registry, attempts, "r1", workers=2)
    bell = duty.bell = CountingBell()
    attempts.note_end = duty.note_ended
    duty.step(1_000.0)  # nothing waits, and it knows
    attempts.n = 5

    due = duty.step(1_001.0)

    assert bell.rings or due < NEVER


def test_it_wakes_when_the_next_scheduled_job_is_due(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[int] = []

    def claim(runner: str, *, room: int, types: list[str]) -> Claim:
        claims.append(room)
        return Claim([], next_due=500.0005, now=500.0)  # by the database's clock, which is not the runner's

    monkeypatch.setattr(bench.store, "claim", claim, raising=False)
    bench.claim()  # learns what has arrived before it began

    dues = [bench.claim(), bench.claim()]
    before = len(claims)
    bench.clock.advance(0.0005)
    bench.claim()

    assert dues == [bench.clock.time, bench.clock.time]
    assert len(claims) == before + 1


def test_a_job_that_is_due_already_is_no_reason_to_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More were due than one claim moves in."""
    monkeypatch.setattr(bench.store, "claim", lambda runner, **_: Claim([], 499.0, 500.0), raising=False)

    assert bench.claim() == bench.clock.time


def test_a_store_that_refuses_is_asked_again_in_half_a_second(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put("note")
    bench.store.refused.add("claim")

    due = bench.claim()
    bench.store.refused.clear()
    bench.claim()

    assert due == bench.clock.time + TRY_AGAIN_AFTER
    assert "no jobs could be claimed" in caplog.text
    assert len(bench.pool.tasks) == 1


def test_a_pool_that_closes_gives_the_rest_of_the_claim_back_uncounted(make_bench: MakeBench) -> None:
    bench = make_bench(workers=4)
    ids = bench.put(*["note"] * 4)
    bench.pool.places = 1

    bench.claim()

    assert bench.states(ids) == [JobState.PROCESSING] + [JobState.PENDING] * 3
    assert [bench.job(id).attempt for id in ids] == [1, 0, 0, 0]
    assert [attempt.job.id for attempt in bench.duties.attempts.held] == ids[:1]
    assert bench.claim() == NEVER
    assert len(rooms(bench)) == 1


def test_after_stop_nothing_is_claimed(bench: Bench) -> None:
    bench.put("note")

    bench.duties.claim.stop()

    assert bench.claim() == NEVER
    assert rooms(bench) == []


def test_stop_waits_for_the_claim_under_way(bench: Bench) -> None:
    stopped = threading.Event()
    stopping = threading.Thread(target=lambda: (bench.duties.claim.stop(), stopped.set()))
    with bench.duties.claim.claiming:  # as a claim does
        stopping.start()
        too_early = stopped.wait(0.02)

    assert stopped.wait(10)
    assert not too_early
    stopping.join()


def test_a_claim_that_was_about_to_begin_when_stop_came_does_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, duty = bench.store.reading, bench.duties.claim
    bench.put("note")

    class StopsMeanwhile:
        def arrivals(self) -> int:
            duty.stop()
            return reading.arrivals()

    monkeypatch.setattr(bench.store, "reading", StopsMeanwhile())

    assert bench.claim() == NEVER
    assert rooms(bench) == []


def test_a_job_that_a_glob_takes_is_run_by_the_function_of_the_glob(bench: Bench) -> None:
    bench.registry.add(lambda: bench.effects.append("globbed"), "job-*")
    bench.put("job-7")

    bench.claim()
    bench.pool.run()

    assert bench.effects == ["globbed"]
