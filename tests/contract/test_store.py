"""What every store promises (`millhand.jobs.store`), sentence by sentence, on every store there is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from millhand.core import ErrorInfo, JobNotFound, JobState, MillhandError, QueueFull, StoreError
from millhand.jobs.ids import new_id
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.store import Ending, Rescue, Store
from tests.jobs.ledger import (
    BOOM,
    T0,
    again,
    announce,
    assert_counts_add_up,
    claim,
    done,
    draft,
    failed,
    find_all,
    held,
    put,
    recount,
    state_of,
    take,
    take_one,
)

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite-temporary": lambda folder: SqliteStore(None),
    "sqlite-file": lambda folder: SqliteStore(folder / "jobs.db"),
    "sqlite-unthreaded": lambda folder: SqliteStore(folder / "jobs.db", threaded=False),
}

Restart = Callable[[], Store]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store; when the test is over its counters must equal a count of its jobs."""
    store = STORES[request.param](tmp_path)
    yield store
    assert_counts_add_up(store)
    store.housekeeping.close()


@pytest.fixture(params=STORES)
def closed_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    store = STORES[request.param](tmp_path)
    store.housekeeping.close()
    return store


# ── Intake ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_enqueued_job_waits_with_everything_it_was_given(store: Store) -> None:
    given = draft("resize", payload='{"n":1}', queue="images", priority=3, timeout=2.5, max_attempts=7)

    answers = store.intake.enqueue([given], now=T0)

    job = store.reading.get(given.id)
    assert answers == [None]
    assert (job.id, job.type, job.payload, job.queue) == (given.id, "resize", '{"n":1}', "images")
    assert (job.priority, job.timeout, job.max_attempts) == (3, 2.5, 7)
    assert (job.state, job.attempt, job.token, job.cancel_requested) == (JobState.PENDING, 0, 0, False)
    assert (job.submitted_at, job.run_at, job.started_at, job.finished_at) == (T0, T0, None, None)
    assert (job.runner, job.result, job.error) == (None, None, None)


def test_a_delayed_job_is_scheduled_for_its_time(store: Store) -> None:
    [id] = put(store, draft(delay=30.0), now=T0)

    job = store.reading.get(id)

    assert (job.state, job.submitted_at, job.run_at) == (JobState.SCHEDULED, T0, T0 + 30)


def test_enqueuing_nothing_is_no_fault(store: Store) -> None:
    assert store.intake.enqueue([], now=T0) == []
    assert store.intake.enqueue([], limit=0, now=T0) == []


def test_what_is_enqueued_in_one_call_is_claimed_in_that_order(store: Store) -> None:
    ids = put(store, draft(), draft(), draft())

    assert [job.id for job in take(store)] == ids


def test_enqueuing_a_known_id_again_is_accepted_and_changes_nothing(store: Store) -> None:
    first = draft(payload='{"n":1}')
    put(store, first, now=T0)

    answers = store.intake.enqueue([draft(id=first.id, payload='{"n":2}', priority=9), draft()], now=T0 + 1)

    job = store.reading.get(first.id)
    assert answers == [None, None]
    assert (job.payload, job.priority, job.submitted_at) == ('{"n":1}', 0, T0)
    assert len(find_all(store)) == 2


def test_one_id_twice_in_a_call_is_one_job(store: Store) -> None:
    job = draft()

    assert store.intake.enqueue([job, job], now=T0) == [None, None]

    assert store.reading.counts()[JobState.PENDING] == 1


def test_enqueuing_an_ended_job_again_does_not_run_it_again(store: Store) -> None:
    job = draft()
    put(store, job)
    store.claims.finish([done(take_one(store))], now=T0)

    put(store, job)

    assert take(store) == []
    assert state_of(store, job.id) is JobState.COMPLETED


def test_a_limit_admits_the_first_ones_and_tells_the_others_how_full_it_is(store: Store) -> None:
    put(store, draft())
    drafts = [draft(), draft(), draft(), draft()]

    answers = store.intake.enqueue(drafts, limit=3, now=T0)

    assert answers[:2] == [None, None]
    assert [(type(answer), answer.waiting, answer.limit) for answer in answers[2:] if answer] == [(QueueFull, 3, 3)] * 2
    assert {job.id for job in find_all(store)} >= {drafts[0].id, drafts[1].id}
    assert not store.reading.get_many([drafts[2].id, drafts[3].id])


def test_a_limit_counts_scheduled_jobs_too(store: Store) -> None:
    put(store, draft(delay=60.0), draft(delay=60.0))

    [answer] = store.intake.enqueue([draft()], limit=2, now=T0)

    assert answer is not None
    assert (answer.waiting, answer.limit) == (2, 2)


def test_a_limit_below_what_waits_already_says_how_much_waits(store: Store) -> None:
    put(store, draft(), draft(), draft())

    [answer] = store.intake.enqueue([draft()], limit=1, now=T0)

    assert answer is not None
    assert (answer.waiting, answer.limit) == (3, 1)


def test_a_limit_does_not_count_what_runs_or_has_ended(store: Store) -> None:
    put(store, draft(), draft())
    first, _second = take(store)
    store.claims.finish([done(first)], now=T0)

    assert store.intake.enqueue([draft()], limit=1, now=T0) == [None]


def test_a_full_store_takes_jobs_again_once_some_were_claimed(store: Store) -> None:
    put(store, draft())
    [refusal] = store.intake.enqueue([draft()], limit=1, now=T0)
    take(store)

    [answer] = store.intake.enqueue([draft()], limit=1, now=T0)

    assert refusal is not None
    assert answer is None


def test_a_known_id_is_accepted_by_a_full_store_too(store: Store) -> None:
    """Whoever repeats an enqueue because the answer got lost must not be told that the job was refused."""
    job = draft()
    put(store, job)

    assert store.intake.enqueue([job], limit=1, now=T0) == [None]


# ── Claims: claim ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_hands_out_all_that_an_attempt_needs(store: Store) -> None:
    given = draft("resize", payload='{"n":1}', timeout=2.5, max_attempts=7, priority=2)
    put(store, given, now=T0)

    job = take_one(store, "r1", now=T0 + 5)

    assert (job.id, job.type, job.payload) == (given.id, "resize", '{"n":1}')
    assert (job.token, job.attempt, job.max_attempts, job.timeout) == (1, 1, 7, 2.5)
    kept = store.reading.get(given.id)
    assert (kept.state, kept.runner, kept.started_at) == (JobState.PROCESSING, "r1", T0 + 5)
    assert (kept.token, kept.attempt) == (1, 1)


def test_a_claim_takes_no_more_than_its_room(store: Store) -> None:
    ids = put(store, draft(), draft(), draft())

    assert [job.id for job in take(store, room=2)] == ids[:2]
    assert [job.id for job in take(store, room=2)] == ids[2:]


def test_without_room_nothing_is_claimed(store: Store) -> None:
    put(store)

    assert take(store, room=0) == []


def test_a_runner_that_the_store_does_not_know_gets_nothing(store: Store) -> None:
    """Nobody would rescue what it claims."""
    [id] = put(store)
    announce(store, "r1", lease=15.0, now=T0)
    store.claims.rescue(now=T0 + 16)

    for runner in ("r1", "nobody"):
        with pytest.raises(StoreError, match=runner):
            store.claims.claim(runner, room=1, types=["*"], now=T0 + 16)
    announce(store, "r1", lease=15.0, now=T0 + 17)

    assert take_one(store, "r1", now=T0 + 17).id == id


def test_nothing_is_claimed_twice(store: Store) -> None:
    put(store, draft(), draft())

    first, second = take(store, "r1"), take(store, "r2")

    assert len(first) == 2
    assert second == []


def test_a_claim_of_an_empty_store_brings_nothing(store: Store) -> None:
    found = claim(store, now=T0)

    assert (found.jobs, found.next_due, found.now) == ([], None, T0)


def test_higher_priority_is_claimed_sooner(store: Store) -> None:
    low, high, middle = put(store, draft(priority=-1), draft(priority=5), draft(priority=1))

    assert [job.id for job in take(store)] == [high, middle, low]


def test_waiting_a_minute_outweighs_one_level_of_priority(store: Store) -> None:
    [old] = put(store, draft(priority=0), now=T0)
    [slightly_younger] = put(store, draft(priority=1), now=T0 + 59)
    [much_younger] = put(store, draft(priority=1), now=T0 + 61)

    order = [job.id for job in take(store, now=T0 + 61)]

    assert order == [slightly_younger, old, much_younger]


def test_the_room_goes_to_the_lowest_ranks_of_a_queue(store: Store) -> None:
    _low, high, middle = put(store, draft(priority=-1), draft(priority=5), draft(priority=1))

    assert [job.id for job in take(store, room=2)] == [high, middle]


def test_equal_ranks_go_by_id(store: Store) -> None:
    drafts = sorted((draft(id=new_id()) for _ in range(3)), key=lambda job: job.id)

    put(store, drafts[2], drafts[0], drafts[1])

    assert [job.id for job in take(store)] == [job.id for job in drafts]


def test_equal_ranks_of_several_queues_go_by_id_too(store: Store) -> None:
    ids = put(store, draft(queue="b"), draft(queue="a"), draft(queue="b"))

    assert [job.id for job in take(store)] == ids


def test_the_room_goes_to_the_lowest_ranks_of_all_queues(store: Store) -> None:
    put(store, draft(queue="a"), draft(queue="a"), draft(queue="b"))
    [urgent] = put(store, draft(queue="b", priority=1))
    [more_urgent] = put(store, draft(queue="c", priority=2))

    assert [job.id for job in take(store, room=2)] == [more_urgent, urgent]


def test_only_the_types_asked_for_are_claimed(store: Store) -> None:
    _mail, resize = put(store, draft("mail"), draft("resize"))

    assert [job.id for job in take(store, types=["resize"])] == [resize]
    assert take(store, types=["resize", "other"]) == []


def test_without_types_nothing_is_claimed(store: Store) -> None:
    put(store)

    assert take(store, types=[]) == []


def test_a_name_matches_no_other_that_begins_like_it(store: Store) -> None:
    put(store, draft("mailing"), draft("Mail"))

    assert take(store, types=["mail"]) == []


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("job-*", {"job-1", "job-22"}),
        ("job-?", {"job-1"}),
        ("job-[0-9]", {"job-1"}),
        ("*", {"job-1", "job-22", "Job-1", "x"}),
        ("Job*", {"Job-1"}),
        ("nothing-*", set()),
    ],
)
def test_a_glob_takes_every_type_that_fits_it(store: Store, pattern: str, fitting: set[str]) -> None:
    put(store, *(draft(type) for type in ("job-1", "job-22", "Job-1", "x")))

    assert {job.type for job in take(store, types=[pattern])} == fitting


def test_a_negated_set_in_a_glob_means_what_the_registry_means_by_it(store: Store) -> None:
    """A type that the store hands out and the registry does not know would be claimed and never run."""
    put(store, draft("job-a"), draft("job-b"))

    assert [job.type for job in take(store, types=["job-[!a]"])] == ["job-b"]


def test_names_and_globs_can_be_mixed(store: Store) -> None:
    put(store, draft("mail"), draft("job-1"), draft("other"))

    assert [job.type for job in take(store, types=["mail", "job-*"])] == ["mail", "job-1"]


def test_jobs_of_other_types_do_not_take_up_room(store: Store) -> None:
    put(store, *(draft("foreign", priority=9) for _ in range(5)))
    [mine] = put(store, draft("mail"))

    assert [job.id for job in take(store, room=1, types=["mail"])] == [mine]


def test_a_scheduled_job_is_claimable_from_the_moment_it_is_due(store: Store) -> None:
    [id] = put(store, draft(delay=10.0), now=T0)

    before = claim(store, now=T0 + 9.9)
    after = claim(store, now=T0 + 10)

    assert (before.jobs, before.next_due) == ([], T0 + 10)
    assert [job.id for job in after.jobs] == [id]
    assert after.next_due is None


def test_a_due_job_of_a_type_nobody_asked_for_becomes_pending(store: Store) -> None:
    [id] = put(store, draft("foreign", delay=10.0), now=T0)

    take(store, types=["mail"], now=T0 + 10)

    assert state_of(store, id) is JobState.PENDING


def test_the_next_due_time_is_the_earliest_that_is_left(store: Store) -> None:
    put(store, draft(delay=30.0), draft(delay=10.0), draft(delay=20.0), now=T0)

    found = claim(store, now=T0 + 15)

    assert len(found.jobs) == 1
    assert found.next_due == T0 + 20


def test_a_due_job_is_ranked_by_when_it_was_due(store: Store) -> None:
    """The order is that of readiness, not of submission."""
    [late] = put(store, draft(delay=50.0), now=T0)
    [early] = put(store, draft(), now=T0 + 20)
    [latest] = put(store, draft(), now=T0 + 55)

    assert [job.id for job in take(store, now=T0 + 60)] == [early, late, latest]


def test_a_retried_job_is_ranked_by_the_end_of_its_delay(store: Store) -> None:
    [retried] = put(store, draft(priority=1), now=T0)
    store.claims.finish([again(take_one(store), delay=100.0)], now=T0)
    [sooner] = put(store, draft(), now=T0 + 30)
    [later] = put(store, draft(), now=T0 + 50)

    assert [job.id for job in take(store, now=T0 + 100)] == [sooner, retried, later]


def test_priority_counts_for_due_jobs_too(store: Store) -> None:
    low, high = put(store, draft(delay=1.0), draft(delay=1.0, priority=2), now=T0)

    assert [job.id for job in take(store, now=T0 + 1)] == [high, low]


def test_every_claim_raises_the_token(store: Store) -> None:
    put(store)
    first = take_one(store)
    store.claims.finish([again(first)], now=T0)

    second = take_one(store, now=T0 + 1)

    assert (second.token, second.attempt) == (first.token + 1, 2)


# ── Claims: finish ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finish_keeps_the_result(store: Store) -> None:
    put(store)
    job = take_one(store)

    answers = store.claims.finish([done(job, result='{"n":[1,2]}')], now=T0 + 7)

    kept = store.reading.get(job.id)
    assert answers == [True]
    assert (kept.state, kept.result, kept.error) == (JobState.COMPLETED, '{"n":[1,2]}', None)
    assert (kept.finished_at, kept.attempt) == (T0 + 7, 1)


def test_a_finish_keeps_the_error(store: Store) -> None:
    put(store)
    job = take_one(store)

    store.claims.finish([failed(job)], now=T0)

    kept = store.reading.get(job.id)
    assert (kept.state, kept.result, kept.error) == (JobState.FAILED, None, BOOM)


def test_finishing_nothing_is_no_fault(store: Store) -> None:
    assert store.claims.finish([], now=T0) == []


def test_texts_come_back_as_they_were_brought(store: Store) -> None:
    awkward = 'quote " backslash \\ newline \n nul \x00 snow ☃ astral 😀'
    put(store)
    job = take_one(store)

    store.claims.finish([Ending(job.id, job.token, JobState.FAILED, error=ErrorInfo("E", awkward, awkward))], now=T0)

    assert store.reading.get(job.id).error == ErrorInfo("E", awkward, awkward)


def test_an_error_whose_text_is_no_unicode_hurts_no_other_job_of_its_batch(store: Store) -> None:
    """`OSError("\\udcff")` comes of a file name in another encoding. A refused batch would be tried for ever."""
    put(store, draft(), draft())
    odd, plain = take(store)
    ending = Ending(odd.id, odd.token, JobState.FAILED, error=ErrorInfo("OSError", "no file \udcff"))

    answers = store.claims.finish([ending, done(plain)], now=T0)

    assert answers == [True, True]
    assert (state_of(store, odd.id), state_of(store, plain.id)) == (JobState.FAILED, JobState.COMPLETED)


def test_a_finish_with_a_stale_token_changes_nothing_and_is_counted(store: Store) -> None:
    put(store)
    job = take_one(store)
    store.claims.release(held(job), now=T0)
    successor = take_one(store, "r2")
    before = store.reading.get(job.id)

    answers = store.claims.finish([done(job)], now=T0 + 1)

    assert answers == [False]
    assert store.reading.get(job.id) == before
    assert store.reading.totals()["stale_finishes_rejected"] == 1
    assert store.claims.finish([done(successor)], now=T0) == [True]


def test_a_finish_of_an_unknown_job_is_refused(store: Store) -> None:
    assert store.claims.finish([Ending(new_id(), 1, JobState.COMPLETED)], now=T0) == [False]


def test_a_job_that_was_never_claimed_cannot_be_finished(store: Store) -> None:
    [waiting, later] = put(store, draft(), draft(delay=9.0))

    answers = store.claims.finish(
        [Ending(waiting, 0, JobState.COMPLETED), Ending(later, 0, JobState.COMPLETED)], now=T0
    )

    assert answers == [False, False]
    assert state_of(store, waiting) is JobState.PENDING


def test_a_future_token_is_as_worthless_as_a_stale_one(store: Store) -> None:
    put(store)
    job = take_one(store)

    assert store.claims.finish([Ending(job.id, job.token + 1, JobState.COMPLETED)], now=T0) == [False]
    assert state_of(store, job.id) is JobState.PROCESSING


def test_one_stale_ending_does_not_hurt_the_others(store: Store) -> None:
    put(store, draft(), draft(), draft())
    first, second, third = take(store)
    store.claims.release(held(second), now=T0)

    answers = store.claims.finish([done(first), done(second), failed(third)], now=T0)

    assert answers == [True, False, True]
    assert state_of(store, second.id) is JobState.PENDING


def test_a_zombies_ending_does_not_slip_in_beside_a_good_one(store: Store) -> None:
    put(store, draft(), draft())
    lost, good = take(store)
    store.claims.release(held(lost), now=T0)
    owner = take_one(store, "r2")

    answers = store.claims.finish([failed(lost), done(good)], now=T0)

    assert answers == [False, True]
    assert (state_of(store, owner.id), state_of(store, good.id)) == (JobState.PROCESSING, JobState.COMPLETED)


def test_a_late_second_ending_does_not_slip_in_beside_a_good_one(store: Store) -> None:
    put(store, draft(), draft())
    ended, good = take(store)
    store.claims.finish([done(ended, result='"first"')], now=T0)

    answers = store.claims.finish([failed(ended), done(good)], now=T0)

    kept = store.reading.get(ended.id)
    assert answers == [False, True]
    assert (kept.state, kept.result) == (JobState.COMPLETED, '"first"')


@pytest.mark.parametrize("make", [done, failed, again], ids=["done", "failed", "again"])
def test_repeating_a_finish_is_accepted_and_changes_nothing(store: Store, make: Callable[..., Ending]) -> None:
    put(store)
    job = take_one(store)
    ending = make(job)
    store.claims.finish([ending], now=T0)
    before = store.reading.get(job.id)

    answers = store.claims.finish([ending], now=T0 + 5)

    assert answers == [True]
    assert store.reading.get(job.id) == before
    assert store.reading.totals()["stale_finishes_rejected"] == 0


def test_repeating_a_retry_is_accepted_after_the_job_became_due(store: Store) -> None:
    put(store)
    job = take_one(store)
    store.claims.finish([again(job, delay=5.0)], now=T0)
    take(store, types=["other"], now=T0 + 5)

    assert store.claims.finish([again(job, delay=5.0)], now=T0 + 6) == [True]
    assert state_of(store, job.id) is JobState.PENDING


def test_another_ending_with_the_same_token_comes_too_late(store: Store) -> None:
    put(store)
    job = take_one(store)
    store.claims.finish([done(job)], now=T0)

    assert store.claims.finish([failed(job)], now=T0) == [False]
    assert state_of(store, job.id) is JobState.COMPLETED


def test_an_ending_that_stands_twice_in_a_batch_counts_once(store: Store) -> None:
    put(store, draft(), draft())
    job, _other = take(store)

    assert store.claims.finish([done(job), done(job)], now=T0) == [True, True]

    assert store.reading.counts()[JobState.COMPLETED] == 1


def test_a_stale_ending_beside_the_right_one_of_the_same_job_is_refused(store: Store) -> None:
    """A runner that claimed its own job anew, after a rescue, may bring both attempts in one batch."""
    put(store)
    zombie = take_one(store)
    store.claims.release(held(zombie), now=T0)
    owner = take_one(store)

    answers = store.claims.finish([done(zombie, result='"zombie"'), done(owner, result='"owner"')], now=T0)

    assert answers == [False, True]
    assert store.reading.get(owner.id).result == '"owner"'
    assert store.reading.totals()["stale_finishes_rejected"] == 1


def test_a_retry_waits_for_its_delay(store: Store) -> None:
    put(store)
    job = take_one(store)

    store.claims.finish([again(job, delay=8.0)], now=T0 + 2)

    kept = store.reading.get(job.id)
    assert (kept.state, kept.run_at, kept.finished_at) == (JobState.SCHEDULED, T0 + 10, None)
    assert (kept.attempt, kept.error) == (1, BOOM)
    assert take(store, now=T0 + 9) == []
    assert take_one(store, now=T0 + 10).attempt == 2


def test_a_retry_that_does_not_count_leaves_the_number_of_attempts(store: Store) -> None:
    put(store)
    job = take_one(store)

    store.claims.finish([again(job, counts_as_attempt=False)], now=T0)

    assert store.reading.get(job.id).attempt == 0
    assert take_one(store).attempt == 1


def test_an_error_of_an_earlier_attempt_goes_when_the_job_completes(store: Store) -> None:
    put(store)
    store.claims.finish([again(take_one(store))], now=T0)

    store.claims.finish([done(take_one(store))], now=T0)

    assert store.reading.get(find_all(store)[0].id).error is None


def test_a_job_asked_to_be_cancelled_is_not_tried_again(store: Store) -> None:
    put(store)
    job = take_one(store)
    store.control.cancel(job.id, now=T0)

    answers = store.claims.finish([again(job, delay=8.0)], now=T0 + 3)

    kept = store.reading.get(job.id)
    assert answers == [True]
    assert (kept.state, kept.finished_at) == (JobState.CANCELLED, T0 + 3)
    assert store.claims.finish([again(job, delay=8.0)], now=T0 + 4) == [True]


@pytest.mark.parametrize("make", [done, failed], ids=["done", "failed"])
def test_an_end_that_comes_before_the_cancel_counts(store: Store, make: Callable[..., Ending]) -> None:
    put(store)
    job = take_one(store)
    store.control.cancel(job.id, now=T0)

    store.claims.finish([make(job)], now=T0)

    assert state_of(store, job.id) is make(job).state


def test_a_runner_can_bring_a_job_back_as_cancelled(store: Store) -> None:
    put(store)
    job = take_one(store)

    store.claims.finish([Ending(job.id, job.token, JobState.CANCELLED)], now=T0)

    assert state_of(store, job.id) is JobState.CANCELLED


def test_no_job_goes_from_processing_to_processing(store: Store) -> None:
    """A store refuses every move that `core.job.MOVES` does not have."""
    put(store)
    job = take_one(store)

    with pytest.raises((MillhandError, ValueError)):
        store.claims.finish([Ending(job.id, job.token, JobState.PROCESSING)], now=T0)

    assert store.reading.get(job.id).runner == "r1"


# ── Claims: release, reconcile, renew ────────────────────────────────────────────────────────────────────────────────


def test_a_released_job_waits_where_it_stood_as_if_never_claimed(store: Store) -> None:
    put(store, draft(), draft())
    first, second = take(store, now=T0 + 5)

    assert store.claims.release(held(first, second), now=T0 + 6) == 2

    kept = store.reading.get(first.id)
    assert (kept.state, kept.attempt, kept.runner, kept.started_at) == (JobState.PENDING, 0, None, None)
    assert [job.id for job in take(store, "r2")] == [first.id, second.id]


def test_a_released_job_is_lost_to_who_released_it(store: Store) -> None:
    put(store)
    job = take_one(store)

    store.claims.release(held(job), now=T0)

    assert store.claims.finish([done(job)], now=T0) == [False]
    assert state_of(store, job.id) is JobState.PENDING


def test_a_release_with_a_stale_token_changes_nothing(store: Store) -> None:
    put(store)
    job = take_one(store)
    store.claims.release(held(job), now=T0)
    take_one(store, "r2")
    before = store.reading.get(job.id)

    assert store.claims.release(held(job), now=T0) == 0
    assert store.reading.get(job.id) == before


def test_releasing_one_job_twice_in_a_call_counts_once(store: Store) -> None:
    put(store, draft(), draft())
    job, _other = take(store)

    assert store.claims.release([*held(job), *held(job)], now=T0) == 1

    assert store.reading.counts()[JobState.PENDING] == 1


def test_releasing_nothing_or_the_unknown_is_no_fault(store: Store) -> None:
    assert store.claims.release([], now=T0) == 0
    assert store.claims.release([(new_id(), 1)], now=T0) == 0


def test_an_ended_job_cannot_be_released(store: Store) -> None:
    put(store)
    job = take_one(store)
    store.claims.finish([done(job)], now=T0)

    assert store.claims.release(held(job), now=T0) == 0
    assert state_of(store, job.id) is JobState.COMPLETED


def test_reconcile_releases_what_the_runner_does_not_know_of(store: Store) -> None:
    put(store, draft(), draft(), draft())
    known, lost = take(store, "r1", room=2)
    foreign = take_one(store, "r2")

    assert store.claims.reconcile("r1", held=held(known), now=T0) == 1

    assert [state_of(store, job.id) for job in (known, lost, foreign)] == [
        JobState.PROCESSING,
        JobState.PENDING,
        JobState.PROCESSING,
    ]
    assert store.reading.get(lost.id).attempt == 0
    assert store.claims.finish([done(lost)], now=T0) == [False]


def test_reconcile_of_a_runner_that_knows_all_changes_nothing(store: Store) -> None:
    put(store, draft(), draft())
    jobs = take(store)

    assert store.claims.reconcile("r1", held=held(*jobs), now=T0) == 0


def test_reconcile_compares_tokens_too(store: Store) -> None:
    """The runner lost the job, claimed it anew, and the answer to that claim never arrived."""
    put(store)
    old = take_one(store, "r1")
    store.claims.release(held(old), now=T0)
    lost = take_one(store, "r1")

    assert store.claims.reconcile("r1", held=held(old), now=T0) == 1
    assert state_of(store, lost.id) is JobState.PENDING


def test_a_runner_that_beats_keeps_its_lease(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)

    assert store.claims.renew("r1", lease=15.0, now=T0 + 10) is True

    [row] = store.reading.runners()
    assert (row.id, row.started_at, row.beat_at, row.expires_at) == ("r1", T0, T0 + 10, T0 + 25)
    assert store.claims.rescue(expired=True, now=T0 + 24) == []


def test_renewing_an_unknown_runner_says_so(store: Store) -> None:
    assert store.claims.renew("nobody", lease=15.0, now=T0) is False
    assert store.reading.runners() == []


def test_a_runner_taken_for_dead_learns_it_when_it_beats(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)
    store.claims.rescue(now=T0 + 16)

    assert store.claims.renew("r1", lease=15.0, now=T0 + 16) is False


# ── Claims: rescue ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_jobs_of_a_runner_wait_again_when_its_lease_ran_out(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)
    put(store)
    job = take_one(store, "r1")

    too_early = store.claims.rescue(expired=True, now=T0 + 15)
    rescued = store.claims.rescue(expired=True, now=T0 + 15.1)

    assert too_early == []
    assert rescued == [Rescue("r1", requeued=1, given_up=0)]
    kept = store.reading.get(job.id)
    assert (kept.state, kept.runner, kept.started_at) == (JobState.PENDING, None, None)
    assert store.reading.runners() == []


def test_a_rescue_raises_the_token_so_that_the_zombie_changes_nothing(store: Store) -> None:
    announce(store, "zombie")
    put(store)
    lost = take_one(store, "zombie")

    store.claims.rescue(dead=["zombie"], now=T0)

    assert store.reading.get(lost.id).token > lost.token
    assert store.claims.finish([done(lost)], now=T0) == [False]
    assert store.claims.release(held(lost), now=T0) == 0
    assert state_of(store, lost.id) is JobState.PENDING
    assert store.reading.totals()["stale_finishes_rejected"] == 1


def test_the_zombie_changes_nothing_while_somebody_else_runs_its_job(store: Store) -> None:
    announce(store, "zombie")
    put(store)
    lost = take_one(store, "zombie")
    store.claims.rescue(dead=["zombie"], now=T0)
    owner = take_one(store, "r2")

    answers = store.claims.finish([failed(lost)], now=T0)

    assert answers == [False]
    assert store.claims.finish([done(owner)], now=T0) == [True]


def test_a_finish_that_came_before_the_rescue_stays(store: Store) -> None:
    announce(store, "r1")
    put(store)
    job = take_one(store, "r1")
    store.claims.finish([done(job)], now=T0)

    assert store.claims.rescue(dead=["r1"], now=T0) == [Rescue("r1", requeued=0, given_up=0)]
    assert state_of(store, job.id) is JobState.COMPLETED


def test_a_runner_named_dead_is_rescued_before_its_lease_ends(store: Store) -> None:
    announce(store, "r1", "r2")
    put(store, draft(), draft())
    lost = take_one(store, "r1", room=1)
    kept = take_one(store, "r2", room=1)

    rescued = store.claims.rescue(dead=["r1"], expired=True, now=T0)

    assert rescued == [Rescue("r1", requeued=1, given_up=0)]
    assert (state_of(store, lost.id), state_of(store, kept.id)) == (JobState.PENDING, JobState.PROCESSING)


def test_who_may_not_judge_leases_spares_those_that_ran_out(store: Store) -> None:
    announce(store, "r1", "r2", lease=15.0, now=T0)

    rescued = store.claims.rescue(dead=["r1"], expired=False, now=T0 + 1_000)

    assert [rescue.runner for rescue in rescued] == ["r1"]
    assert [row.id for row in store.reading.runners()] == ["r2"]


def test_a_judge_whose_own_lease_is_fresh_has_expired_leases_acted_on(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)
    announce(store, "judge", lease=15.0, now=T0 + 10)

    assert store.claims.rescue(judge="judge", now=T0 + 17) == [Rescue("r1", 0, 0)]


def test_a_judge_that_has_lost_half_of_its_own_lease_judges_nobody(store: Store) -> None:
    """While it waited for its turn to write, perhaps nobody could beat."""
    announce(store, "r1", "named", lease=15.0, now=T0)
    announce(store, "judge", lease=15.0, now=T0 + 10)

    rescued = store.claims.rescue(dead=["named"], judge="judge", now=T0 + 18)

    assert rescued == [Rescue("named", 0, 0)]
    assert [row.id for row in store.reading.runners()] == ["r1", "judge"]


def test_a_judge_that_the_store_does_not_know_judges_nobody(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)

    assert store.claims.rescue(judge="nobody", now=T0 + 100) == []


def test_nobody_is_rescued_twice(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)
    put(store)
    take_one(store, "r1")
    store.claims.rescue(now=T0 + 100)

    assert store.claims.rescue(dead=["r1"], now=T0 + 100) == []


def test_naming_a_runner_nobody_knows_is_no_fault(store: Store) -> None:
    assert store.claims.rescue(dead=["nobody"], now=T0) == []


def test_the_death_of_a_runner_is_no_attempt_of_its_jobs(store: Store) -> None:
    announce(store, "r1")
    put(store, draft(max_attempts=1))
    take_one(store, "r1")
    store.claims.rescue(dead=["r1"], now=T0)

    assert take_one(store, "r2").attempt == 1


def test_an_orphan_that_was_to_be_cancelled_is_cancelled(store: Store) -> None:
    announce(store, "r1")
    put(store)
    job = take_one(store, "r1")
    store.control.cancel(job.id, now=T0)

    assert store.claims.rescue(dead=["r1"], now=T0 + 4) == [Rescue("r1", requeued=0, given_up=0)]

    kept = store.reading.get(job.id)
    assert (kept.state, kept.finished_at) == (JobState.CANCELLED, T0 + 4)
    assert store.claims.finish([Ending(job.id, job.token, JobState.CANCELLED)], now=T0) == [False]


def make_suspects(store: Store, n: int) -> list[str]:
    """Put `n` jobs in and let a runner die with all of them."""
    ids = put(store, *(draft() for _ in range(n)))
    announce(store, "killed")
    assert len(take(store, "killed", room=n)) == n
    store.claims.rescue(dead=["killed"], now=T0)
    return ids


def test_a_runner_is_given_one_suspect_at_a_time(store: Store) -> None:
    first, second, third = make_suspects(store, 3)

    assert [job.id for job in take(store, "r1")] == [first]
    assert take(store, "r1") == []
    assert [job.id for job in take(store, "r2")] == [second]
    assert [job.id for job in take(store, "r3")] == [third]


def test_a_runner_that_brought_its_suspect_back_is_given_the_next(store: Store) -> None:
    first, second = make_suspects(store, 2)
    job = take_one(store, "r1")
    store.claims.finish([done(job)], now=T0)

    assert job.id == first
    assert take_one(store, "r1").id == second


def test_suspects_do_not_hold_back_jobs_that_are_none(store: Store) -> None:
    suspects = make_suspects(store, 2)
    others = put(store, draft(), draft())

    assert [job.id for job in take(store, "r1")] == [suspects[0], *others]


def test_suspects_of_several_queues_are_given_one_at_a_time_too(store: Store) -> None:
    put(store, draft(queue="a"), draft(queue="b", priority=1))
    announce(store, "killed")
    take(store, "killed")
    store.claims.rescue(dead=["killed"], now=T0)

    jobs = take(store, "r1")

    assert [store.reading.get(job.id).queue for job in jobs] == ["b"]


def test_a_suspect_is_claimed_by_type_like_any_other(store: Store) -> None:
    make_suspects(store, 1)

    assert take(store, "r1", types=["other", "x*"]) == []
    assert len(take(store, "r1", types=["ma*"])) == 1


def die_with(store: Store, runner: str) -> list[Rescue]:
    announce(store, runner)
    assert take(store, runner)
    return store.claims.rescue(dead=[runner], now=T0 + 9)


def test_three_deaths_alone_under_suspicion_end_a_job(store: Store) -> None:
    [id] = make_suspects(store, 1)

    deaths = [die_with(store, runner) for runner in ("r1", "r2", "r3")]

    kept = store.reading.get(id)
    assert deaths == [[Rescue("r1", 1, 0)], [Rescue("r2", 1, 0)], [Rescue("r3", 0, 1)]]
    assert (kept.state, kept.finished_at) == (JobState.FAILED, T0 + 9)
    assert kept.error is not None
    assert kept.error.type == "WorkerLost"


def test_a_job_given_up_cannot_be_finished_by_its_zombie(store: Store) -> None:
    make_suspects(store, 1)
    for runner in ("r1", "r2"):
        die_with(store, runner)
    announce(store, "r3")
    zombie = take_one(store, "r3")
    store.claims.rescue(dead=["r3"], now=T0)

    assert store.claims.finish([done(zombie)], now=T0) == [False]
    assert store.claims.finish([failed(zombie)], now=T0) == [False]
    kept = store.reading.get(zombie.id)
    assert kept.error is not None
    assert (kept.state, kept.error.type) == (JobState.FAILED, "WorkerLost")


def test_the_jobs_beside_a_suspect_are_not_blamed_for_its_deaths(store: Store) -> None:
    [suspect] = make_suspects(store, 1)
    [beside] = put(store, draft())

    for runner in ("r1", "r2", "r3"):
        die_with(store, runner)

    assert state_of(store, suspect) is JobState.FAILED
    assert state_of(store, beside) is JobState.PENDING


@pytest.mark.parametrize("make", [again, lambda job: again(job, counts_as_attempt=False)], ids=["again", "uncounted"])
def test_a_finish_clears_the_suspicion(store: Store, make: Callable[..., Ending]) -> None:
    [first, second] = make_suspects(store, 2)
    for runner in ("r1", "r2"):
        die_with(store, runner)
    cleared = take_one(store, "r3")
    store.claims.finish([make(cleared)], now=T0)

    both = take(store, "r4")

    assert {job.id for job in both} == {first, second}


def test_a_finish_forgets_the_deaths_before_it(store: Store) -> None:
    [id] = make_suspects(store, 1)
    for runner in ("r1", "r2"):
        die_with(store, runner)
    store.claims.finish([again(take_one(store, "r3"))], now=T0)

    deaths = [die_with(store, runner) for runner in ("r4", "r5", "r6")]

    assert [(rescue.requeued, rescue.given_up) for [rescue] in deaths] == [(1, 0)] * 3
    assert state_of(store, id) is JobState.PENDING


def test_a_runner_that_holds_other_jobs_is_given_a_suspect(store: Store) -> None:
    [suspect] = make_suspects(store, 1)
    put(store, draft(priority=9), now=T0)
    other = take_one(store, "r1", room=1)

    assert other.id != suspect
    assert [job.id for job in take(store, "r1")] == [suspect]


def test_a_release_does_not_clear_the_suspicion(store: Store) -> None:
    make_suspects(store, 2)
    store.claims.release(held(take_one(store, "r1")), now=T0)

    assert len(take(store, "r1")) == 1


def test_cancel_wishes_are_the_jobs_of_this_runner_that_somebody_wants_cancelled(store: Store) -> None:
    put(store, draft(), draft(), draft())
    unwanted, _wanted = take(store, "r1", room=2)
    foreign = take_one(store, "r2")
    store.control.cancel(unwanted.id, now=T0)
    store.control.cancel(foreign.id, now=T0)

    assert store.claims.cancel_wishes("r1") == [unwanted.id]

    store.claims.finish([Ending(unwanted.id, unwanted.token, JobState.CANCELLED)], now=T0)
    assert store.claims.cancel_wishes("r1") == []


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_getting_an_unknown_job_names_it(store: Store) -> None:
    id = new_id()

    with pytest.raises(JobNotFound) as caught:
        store.reading.get(id)

    assert caught.value.id == id


def test_many_jobs_are_read_at_once_and_unknown_ones_left_out(store: Store) -> None:
    ids = put(store, draft(), draft(), draft())

    found = store.reading.get_many([ids[0], ids[2], new_id()])

    assert {job.id for job in found} == {ids[0], ids[2]}
    assert store.reading.get_many([]) == []


def test_pages_go_from_the_newest_to_the_oldest(store: Store) -> None:
    ids = put(store, *(draft() for _ in range(5)))

    first = store.reading.find(limit=2)
    second = store.reading.find(limit=2, cursor=first.next_cursor)
    third = store.reading.find(limit=2, cursor=second.next_cursor)

    pages = [[job.id for job in page.jobs] for page in (first, second, third)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert third.next_cursor is None


def test_a_page_that_holds_all_the_rest_is_the_last(store: Store) -> None:
    put(store, draft(), draft())

    assert store.reading.find(limit=2).next_cursor is None


def test_a_page_of_an_empty_store_is_empty(store: Store) -> None:
    page = store.reading.find()

    assert (page.jobs, page.next_cursor) == ([], None)


def test_a_job_that_came_in_while_paging_does_not_move_the_next_page(store: Store) -> None:
    ids = put(store, draft(), draft(), draft())
    first = store.reading.find(limit=1)
    put(store)

    second = store.reading.find(limit=1, cursor=first.next_cursor)

    assert [job.id for job in second.jobs] == [ids[1]]


@pytest.mark.parametrize("state", list(JobState))
def test_jobs_are_found_by_state(store: Store, state: JobState) -> None:
    ids = one_in_each_state(store)

    assert [job.id for job in store.reading.find(state=state).jobs] == [ids[state]]


@pytest.mark.parametrize(("wanted", "found"), [("mail", ["mail"]), ("job-*", ["job-2", "job-1"]), ("no", [])])
def test_jobs_are_found_by_type_or_glob(store: Store, wanted: str, found: list[str]) -> None:
    put(store, draft("job-1"), draft("mail"), draft("job-2"))

    assert [job.type for job in store.reading.find(type=wanted).jobs] == found


def test_filters_and_pages_go_together(store: Store) -> None:
    ids = put(store, draft("job-1"), draft("mail"), draft("job-2", delay=9.0), draft("job-3"))

    first = store.reading.find(state=JobState.PENDING, type="job-*", limit=1)
    second = store.reading.find(state=JobState.PENDING, type="job-*", limit=1, cursor=first.next_cursor)

    assert [job.id for job in (*first.jobs, *second.jobs)] == [ids[3], ids[0]]
    assert second.next_cursor is None


def one_in_each_state(store: Store) -> dict[JobState, str]:
    """Bring one job into each state."""
    ids = {}
    for state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.PROCESSING):
        [ids[state]] = put(store)
        job = take_one(store)
        if state is not JobState.PROCESSING:
            assert store.claims.finish([Ending(job.id, job.token, state)], now=T0) == [True]
    [ids[JobState.PENDING], ids[JobState.SCHEDULED]] = put(store, draft(), draft(delay=60.0))
    return ids


def test_counts_say_how_many_jobs_are_in_each_state(store: Store) -> None:
    assert dict(store.reading.counts()) == dict.fromkeys(JobState, 0)

    one_in_each_state(store)

    assert dict(store.reading.counts()) == dict.fromkeys(JobState, 1)


def test_counts_equal_a_recount_after_every_operation(store: Store) -> None:
    """One long history; the counters are compared with the jobs themselves after each of its steps."""

    def step(_: object) -> None:
        assert_counts_add_up(store)

    announce(store, "r1", "r2", lease=15.0, now=T0)
    step(put(store, *(draft(queue=f"q{n % 3}", delay=float(n % 2)) for n in range(20))))
    step(store.intake.enqueue([draft() for _ in range(5)], limit=22, now=T0))
    step(take(store, "r1", room=5))
    step(jobs := take(store, "r1", room=5, now=T0 + 1))
    step(store.claims.finish([done(jobs[0]), failed(jobs[1]), again(jobs[2])], now=T0 + 1))
    step(store.claims.finish([done(jobs[0]), done(jobs[1]), again(jobs[2])], now=T0 + 1))
    step(store.claims.release(held(jobs[3]), now=T0 + 1))
    step(store.control.cancel(jobs[4].id, now=T0 + 1))
    step(store.control.cancel(jobs[3].id, now=T0 + 1))
    step(store.control.cancel(find_all(store)[0].id, now=T0 + 1))
    step(take(store, "r2", room=3, now=T0 + 1))
    step(store.claims.reconcile("r2", held=[], now=T0 + 1))
    step(take(store, "r2", room=3, now=T0 + 1))
    step(store.claims.rescue(dead=["r1"], now=T0 + 1))
    step(store.claims.rescue(now=T0 + 100))
    step(take(store, "r3", room=100, now=T0 + 100))
    assert sum(recount(store).values()) == 22


def test_totals_begin_at_nought_and_only_grow(store: Store) -> None:
    assert store.reading.totals()["stale_finishes_rejected"] == 0

    for _ in range(2):
        store.claims.finish([Ending(new_id(), 1, JobState.COMPLETED)] * 2, now=T0)

    assert store.reading.totals()["stale_finishes_rejected"] == 4


def test_types_are_what_runners_declared(store: Store) -> None:
    store.housekeeping.declare_types(["mail", "job-*"])
    store.housekeeping.declare_types(["resize", "mail"])
    store.housekeeping.declare_types([])

    assert sorted(store.reading.types()) == ["job-*", "mail", "resize"]


def test_a_number_changes_with_every_commit(store: Store) -> None:
    seen = [store.reading.changed()]

    put(store)
    seen.append(store.reading.changed())
    take(store)
    seen.append(store.reading.changed())

    assert len(set(seen)) == 3
    assert store.reading.changed() == seen[-1]


def arrive_by_enqueue(store: Store) -> Callable[[], object]:
    return lambda: put(store)


def arrive_by_delayed_enqueue(store: Store) -> Callable[[], object]:
    return lambda: put(store, draft(delay=9.0))


def arrive_by_release(store: Store) -> Callable[[], object]:
    put(store)
    job = take_one(store)
    return lambda: store.claims.release(held(job), now=T0)


def arrive_by_reconcile(store: Store) -> Callable[[], object]:
    put(store)
    take_one(store, "r1")
    return lambda: store.claims.reconcile("r1", held=[], now=T0)


def arrive_by_retry(store: Store) -> Callable[[], object]:
    put(store)
    job = take_one(store)
    return lambda: store.claims.finish([again(job)], now=T0)


def arrive_by_rescue(store: Store) -> Callable[[], object]:
    announce(store, "r1")
    put(store)
    take_one(store, "r1")
    return lambda: store.claims.rescue(dead=["r1"], now=T0)


def arrive_by_the_end_of_a_suspect(store: Store) -> Callable[[], object]:
    make_suspects(store, 2)
    job = take_one(store, "r1")
    return lambda: store.claims.finish([done(job)], now=T0)  # the next may have waited for that alone


ARRIVALS = [
    arrive_by_enqueue,
    arrive_by_delayed_enqueue,
    arrive_by_release,
    arrive_by_reconcile,
    arrive_by_retry,
    arrive_by_rescue,
    arrive_by_the_end_of_a_suspect,
]


@pytest.mark.parametrize("prepare", ARRIVALS)
def test_arrivals_grow_whenever_work_may_have_become_claimable(
    store: Store, prepare: Callable[[Store], Callable[[], object]]
) -> None:
    arrive = prepare(store)
    before = store.reading.arrivals()
    told: list[bool] = []
    forget = store.housekeeping.on_commit(lambda arrived, ended: told.append(arrived))

    arrive()

    forget()
    assert store.reading.arrivals() > before
    assert told == [True]


def test_a_claim_and_an_end_are_no_arrivals(store: Store) -> None:
    put(store)
    before = store.reading.arrivals()

    store.claims.finish([done(take_one(store))], now=T0)

    assert store.reading.arrivals() == before


# ── Control ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("delay", [0.0, 60.0], ids=["pending", "scheduled"])
def test_cancelling_a_waiting_job_ends_it(store: Store, delay: float) -> None:
    [id] = put(store, draft(delay=delay))

    job = store.control.cancel(id, now=T0 + 2)

    assert (job.state, job.finished_at) == (JobState.CANCELLED, T0 + 2)
    assert take(store, now=T0 + 100) == []


def test_cancelling_a_processing_job_asks_its_runner_to_stop(store: Store) -> None:
    put(store)
    claimed = take_one(store)

    job = store.control.cancel(claimed.id, now=T0)

    assert (job.state, job.cancel_requested) == (JobState.PROCESSING, True)
    assert store.control.cancel(claimed.id, now=T0) == job


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED])
def test_cancelling_a_job_that_had_ended_changes_nothing(store: Store, state: JobState) -> None:
    id = one_in_each_state(store)[state]
    before = store.reading.get(id)

    assert store.control.cancel(id, now=T0 + 5) == before
    assert store.reading.get(id) == before


def test_cancelling_an_unknown_job_says_so(store: Store) -> None:
    with pytest.raises(JobNotFound):
        store.control.cancel(new_id(), now=T0)


# ── Housekeeping ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_announced_runner_is_listed(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)
    announce(store, "r2", lease=20.0, now=T0 + 1)

    rows = {row.id: row for row in store.reading.runners()}

    assert set(rows) == {"r1", "r2"}
    assert (rows["r2"].started_at, rows["r2"].beat_at, rows["r2"].expires_at) == (T0 + 1, T0 + 1, T0 + 21)
    assert rows["r1"].host
    assert rows["r1"].pid > 0


def test_announcing_again_renews(store: Store) -> None:
    announce(store, "r1", lease=15.0, now=T0)
    announce(store, "r1", lease=15.0, now=T0 + 10)

    [row] = store.reading.runners()

    assert (row.started_at, row.expires_at) == (T0, T0 + 25)


def test_a_retired_runner_is_forgotten(store: Store) -> None:
    announce(store, "r1", "r2")

    store.housekeeping.retire("r1", now=T0)
    store.housekeeping.retire("nobody", now=T0)

    assert [row.id for row in store.reading.runners()] == ["r2"]


def test_what_a_retiring_runner_still_holds_goes_back_uncounted(store: Store) -> None:
    announce(store, "r1", "r2")
    put(store, draft(), draft())
    mine, foreign = take_one(store, "r1", room=1), take_one(store, "r2", room=1)

    store.housekeeping.retire("r1", now=T0)

    kept = store.reading.get(mine.id)
    assert (kept.state, kept.attempt) == (JobState.PENDING, 0)
    assert state_of(store, foreign.id) is JobState.PROCESSING
    assert store.claims.finish([done(mine)], now=T0) == [False]


def test_a_listener_is_told_which_jobs_ended(store: Store) -> None:
    put(store, draft(), draft(), draft())
    first, second, third = take(store)
    told: list[tuple[bool, list[str]]] = []
    store.housekeeping.on_commit(lambda arrived, ended: told.append((arrived, sorted(ended))))

    store.claims.finish([done(first), failed(second), again(third)], now=T0)
    store.control.cancel(third.id, now=T0)

    assert told == [(True, sorted([first.id, second.id])), (False, [third.id])]


def test_a_listener_is_told_of_orphans_that_ended(store: Store) -> None:
    announce(store, "r1")
    put(store)
    job = take_one(store, "r1")
    store.control.cancel(job.id, now=T0)
    told: list[Sequence[str]] = []
    store.housekeeping.on_commit(lambda arrived, ended: told.append(list(ended)))

    store.claims.rescue(dead=["r1"], now=T0)

    assert told == [[job.id]]


def test_a_listener_finds_what_it_is_told_about_on_disk(store: Store) -> None:
    """It is told after the commit, never before: another thread that it wakes may look at once."""
    put(store)
    job = take_one(store)
    seen: list[JobState] = []

    def look(arrived: bool, ended: Sequence[str]) -> None:
        looking = threading.Thread(target=lambda: seen.extend(state_of(store, id) for id in ended))
        looking.start()
        looking.join()

    store.housekeeping.on_commit(look)
    store.claims.finish([done(job)], now=T0)

    assert seen == [JobState.COMPLETED]


def test_a_listener_that_was_taken_back_hears_no_more(store: Store) -> None:
    told: list[str] = []
    forget = store.housekeeping.on_commit(lambda arrived, ended: told.append("first"))
    store.housekeeping.on_commit(lambda arrived, ended: told.append("second"))
    put(store)

    forget()
    put(store)

    assert told == ["first", "second", "second"]


def test_a_request_that_was_refused_commits_nothing(store: Store) -> None:
    told: list[bool] = []
    store.housekeeping.on_commit(lambda arrived, ended: told.append(arrived))

    with pytest.raises(JobNotFound):
        store.control.cancel(new_id(), now=T0)

    assert told == []


def test_closing_is_idempotent(closed_store: Store) -> None:
    closed_store.housekeeping.close()


AFTER_CLOSE: dict[str, Callable[[Store], object]] = {
    "enqueue": lambda store: store.intake.enqueue([draft()]),
    "claim": lambda store: store.claims.claim("r1", room=1, types=["*"]),
    "finish": lambda store: store.claims.finish([Ending(new_id(), 1, JobState.COMPLETED)]),
    "release": lambda store: store.claims.release([(new_id(), 1)]),
    "renew": lambda store: store.claims.renew("r1", lease=15.0),
    "reconcile": lambda store: store.claims.reconcile("r1", held=[]),
    "rescue": lambda store: store.claims.rescue(),
    "cancel_wishes": lambda store: store.claims.cancel_wishes("r1"),
    "get": lambda store: store.reading.get(new_id()),
    "get_many": lambda store: store.reading.get_many([new_id()]),
    "find": lambda store: store.reading.find(),
    "counts": lambda store: store.reading.counts(),
    "totals": lambda store: store.reading.totals(),
    "types": lambda store: store.reading.types(),
    "runners": lambda store: store.reading.runners(),
    "changed": lambda store: store.reading.changed(),
    "arrivals": lambda store: store.reading.arrivals(),
    "cancel": lambda store: store.control.cancel(new_id()),
    "announce": lambda store: store.housekeeping.announce("r1", lease=15.0),
    "retire": lambda store: store.housekeeping.retire("r1"),
    "declare_types": lambda store: store.housekeeping.declare_types(["mail"]),
}


@pytest.mark.parametrize("operation", AFTER_CLOSE)
def test_a_closed_store_refuses_with_a_store_error(closed_store: Store, operation: str) -> None:
    with pytest.raises(StoreError):
        AFTER_CLOSE[operation](closed_store)


# ── All of it ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_its_own_clock_decides_when_no_time_is_given(store: Store) -> None:
    """The only test that reads a clock: the store's is the same day's as this machine's."""
    put(store, now=T0)
    old = store.reading.find().jobs[0]
    store.intake.enqueue([fresh := draft()])
    store.housekeeping.announce("r1", lease=15.0)

    found = store.claims.claim("r1", room=10, types=["*"])

    assert [job.id for job in found.jobs] == [old.id, fresh.id]
    assert store.reading.get(fresh.id).submitted_at > T0 + 1e6
    assert found.now >= store.reading.get(fresh.id).submitted_at - 0.001  # what is read may be rounded


def test_a_queue_may_have_any_name(store: Store) -> None:
    names = ["", "with space", 'quote"', "back\\slash", "snow ☃", "new\nline"]
    put(store, *(draft(queue=name) for name in names))

    jobs = take(store)

    assert {store.reading.get(job.id).queue for job in jobs} == set(names)


def test_many_threads_may_use_it_at_once_and_no_job_is_claimed_twice(
    store: Store, request: pytest.FixtureRequest
) -> None:
    if "unthreaded" in request.node.name:
        pytest.skip("for callers that take turns themselves")
    taken: list[str] = []
    errors: list[BaseException] = []

    def work(runner: str) -> None:
        try:
            put(store, *(draft() for _ in range(5)))
            for job in take(store, runner, room=7):
                taken.append(job.id)
                assert store.reading.get(job.id).runner == runner
                assert store.claims.finish([done(job)], now=T0) == [True]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(taken) == len(set(taken))
    assert store.reading.counts()[JobState.COMPLETED] == len(taken)
