"""Random histories: after every step the store says what an obvious model says, and no job made an illegal move."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from millhand.core import ClaimedJob, JobState, StoreError
from millhand.core.job import MOVES
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.store import Ending, Rescue
from tests.jobs.ledger import BOOM, T0, draft, find_all

RUNNERS = ("r1", "r2")
LEASE = 15.0
MAX_DEATHS = 3
ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)

runners = st.sampled_from(RUNNERS)
delays = st.sampled_from([0.0, 0.0, 5.0, 40.0])
picks = st.integers(0, 30)


@dataclass
class ModelJob:
    id: str
    run_at: float
    priority: int
    state: JobState
    token: int = 0
    attempt: int = 0
    runner: str | None = None
    cancel_requested: bool = False
    suspect: bool = False
    deaths: int = 0

    @property
    def rank(self) -> tuple[float, str]:
        return self.run_at - self.priority * 60, self.id

    def hold(self, runner: str) -> None:
        self.state, self.runner = JobState.PROCESSING, runner
        self.token += 1
        self.attempt += 1

    def come_back(self, state: JobState, *, counted: bool = True) -> None:
        """Go from processing to somewhere else, by whatever way."""
        self.state = JobState.CANCELLED if state is JobState.SCHEDULED and self.cancel_requested else state
        self.attempt -= not counted


@dataclass
class Model:
    """What a store should do, in the simplest words."""

    now: float = T0
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    expires: dict[str, float] = field(default_factory=dict)

    def held_by(self, runner: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state is JobState.PROCESSING and job.runner == runner]

    def claim(self, runner: str, room: int) -> list[str]:
        for job in self.jobs.values():
            if job.state is JobState.SCHEDULED and job.run_at <= self.now:
                job.state = JobState.PENDING
        waiting = sorted((job for job in self.jobs.values() if job.state is JobState.PENDING), key=lambda job: job.rank)
        suspects = [job for job in waiting if job.suspect]
        if any(job.suspect for job in self.held_by(runner)):
            suspects = []
        chosen = [job for job in waiting if not job.suspect or job in suspects[:1]][:room]
        for job in chosen:
            job.hold(runner)
        return [job.id for job in chosen]

    def finish(self, ending: Ending) -> bool:
        job = self.jobs[ending.id]
        if job.token != ending.token:
            return False
        if job.state is not JobState.PROCESSING:
            again = ending.state is JobState.SCHEDULED and job.state in {JobState.PENDING, JobState.CANCELLED}
            return job.state is ending.state or again
        job.come_back(ending.state, counted=ending.counts_as_attempt)
        job.suspect, job.deaths = False, 0
        if ending.state is JobState.SCHEDULED:
            job.run_at = self.now + ending.delay
        return True

    def release(self, job: ModelJob) -> None:
        job.come_back(JobState.PENDING, counted=False)
        job.token += 1

    def rescue(self, dead: set[str]) -> dict[str, tuple[int, int]]:
        found = {}
        for runner in dead:
            outcomes = Counter(self._orphan(job) for job in self.held_by(runner))
            found[runner] = (outcomes[JobState.PENDING], outcomes[JobState.FAILED])
            del self.expires[runner]
        return found

    def _orphan(self, job: ModelJob) -> JobState:
        job.token += 1
        job.deaths += job.suspect
        if job.cancel_requested:
            job.state = JobState.CANCELLED
        elif job.deaths == MAX_DEATHS:
            job.state = JobState.FAILED
        else:
            job.come_back(JobState.PENDING, counted=False)
            job.suspect = True
        return job.state


class StoreMoves(RuleBasedStateMachine):
    """Everything that can happen to jobs, in any order; also what a zombie does."""

    def __init__(self) -> None:
        super().__init__()
        self.store = SqliteStore(None, threaded=False)
        self.model = Model()
        self.claims: list[ClaimedJob] = []
        self.states: dict[str, JobState] = {}
        self.refused = 0

    def teardown(self) -> None:
        self.store.housekeeping.close()

    @initialize(priorities=st.lists(st.integers(-2, 2), min_size=3, max_size=6))
    def begin_with_some_jobs_and_a_claim(self, priorities: list[int]) -> None:
        for priority in priorities:
            self.enqueue(priority=priority, delay=0.0, queue="a")
        self.the_store_says_what_the_model_says()
        self.claim("r1", room=2)

    @rule(priority=st.integers(-2, 2), delay=delays, queue=st.sampled_from("ab"))
    def enqueue(self, priority: int, delay: float, queue: str) -> None:
        job = draft(priority=priority, delay=delay, queue=queue)
        assert self.store.intake.enqueue([job], now=self.model.now) == [None]
        state = JobState.SCHEDULED if delay else JobState.PENDING
        self.model.jobs[job.id] = ModelJob(job.id, self.model.now + delay, priority, state)

    @rule(pick=picks)
    def enqueue_again(self, pick: int) -> None:
        known = draft(id=self.any_job(pick).id, priority=9)
        assert self.store.intake.enqueue([known], now=self.model.now) == [None]

    @rule(runner=runners, room=st.sampled_from([1, 2, 2, 4]))
    def claim(self, runner: str, room: int) -> None:
        if runner not in self.model.expires:
            self.store.housekeeping.announce(runner, lease=LEASE, now=self.model.now)
            self.model.expires[runner] = self.model.now + LEASE
        claimed = self.store.claims.claim(runner, room=room, types=["*"], now=self.model.now).jobs
        assert [job.id for job in claimed] == self.model.claim(runner, room)
        self.claims += claimed

    @rule()
    def claim_without_being_known(self) -> None:
        with pytest.raises(StoreError):
            self.store.claims.claim("nobody", room=4, types=["*"], now=self.model.now)

    @rule(runner=runners, room=st.sampled_from([1, 4]))
    def claim_and_die(self, runner: str, room: int) -> None:
        self.claim(runner, room)
        self.the_store_says_what_the_model_says()
        self.rescue({runner}, expired=False)

    @rule(pick=picks, state=st.sampled_from([*ENDS, JobState.SCHEDULED]), delay=delays, counts=st.booleans())
    def finish(self, pick: int, state: JobState, delay: float, counts: bool) -> None:
        """Bring back any claim there ever was, so often that of a zombie, or for the second time."""
        job = self.any_claim(pick)
        ending = Ending(job.id, job.token, state, error=BOOM, delay=delay, counts_as_attempt=counts)
        expected = self.model.finish(ending)
        assert self.store.claims.finish([ending], now=self.model.now) == [expected]
        self.refused += not expected

    @rule(picked=st.lists(picks, min_size=2, max_size=4))
    def finish_together(self, picked: list[int]) -> None:
        """Bring several claims back in one batch, each once."""
        jobs = {(job.id, job.token): job for job in map(self.any_claim, picked)}.values()
        endings = [Ending(job.id, job.token, JobState.SCHEDULED, delay=5.0) for job in jobs]
        expected = [self.model.finish(ending) for ending in endings]
        assert self.store.claims.finish(endings, now=self.model.now) == expected
        self.refused += expected.count(False)

    @rule(pick=picks)
    def release(self, pick: int) -> None:
        claim = self.any_claim(pick)
        job = self.model.jobs[claim.id]
        holds = job.state is JobState.PROCESSING and job.token == claim.token
        assert self.store.claims.release([(claim.id, claim.token)], now=self.model.now) == holds
        if holds:
            self.model.release(job)

    @rule(runner=runners, n=st.integers(0, 3))
    def reconcile(self, runner: str, n: int) -> None:
        listed = self.model.held_by(runner)
        known = listed[:n]
        lost = [job for job in listed if job not in known]
        pairs = [(job.id, job.token) for job in known]
        assert self.store.claims.reconcile(runner, held=pairs, now=self.model.now) == len(lost)
        for job in lost:
            self.model.release(job)

    @rule(named=st.sets(runners), expired=st.booleans())
    def rescue(self, named: set[str], expired: bool) -> None:
        ended = {runner for runner, at in self.model.expires.items() if expired and at < self.model.now}
        dead = (named & set(self.model.expires)) | ended
        expected = {Rescue(runner, *counts) for runner, counts in self.model.rescue(dead).items()}
        rescued = self.store.claims.rescue(dead=sorted(named), expired=expired, now=self.model.now)
        assert set(rescued) == expected

    @rule(runner=runners)
    def retire(self, runner: str) -> None:
        for job in self.model.held_by(runner):
            self.model.release(job)
        self.model.expires.pop(runner, None)
        self.store.housekeeping.retire(runner, now=self.model.now)

    @rule(runner=runners)
    def renew(self, runner: str) -> None:
        is_known = runner in self.model.expires
        assert self.store.claims.renew(runner, lease=LEASE, now=self.model.now) is is_known
        if is_known:
            self.model.expires[runner] = self.model.now + LEASE

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job = self.any_job(pick)
        if job.state in {JobState.PENDING, JobState.SCHEDULED}:
            job.state = JobState.CANCELLED
        elif job.state is JobState.PROCESSING:
            job.cancel_requested = True
        assert self.store.control.cancel(job.id, now=self.model.now).state is job.state

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.now += seconds

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        jobs = find_all(self.store)
        self.check_moves({job.id: job.state for job in jobs})
        kept = {job.id: (job.state, job.token, job.attempt, job.cancel_requested) for job in jobs}
        expected = {
            job.id: (job.state, job.token, job.attempt, job.cancel_requested) for job in self.model.jobs.values()
        }
        assert kept == expected
        for job in jobs:
            if job.state is JobState.PROCESSING:
                assert job.runner == self.model.jobs[job.id].runner

    @invariant()
    def the_counters_add_up(self) -> None:
        counts = self.store.reading.counts()
        assert {state: n for state, n in counts.items() if n} == Counter(job.state for job in self.model.jobs.values())
        assert self.store.reading.totals()["stale_finishes_rejected"] == self.refused

    def any_job(self, pick: int) -> ModelJob:
        return list(self.model.jobs.values())[pick % len(self.model.jobs)]

    def any_claim(self, pick: int) -> ClaimedJob:
        """Return one of the claims there were, the latest for 0."""
        return self.claims[-1 - pick % len(self.claims)]

    def check_moves(self, states: dict[str, JobState]) -> None:
        for id, after in states.items():
            before = self.states.get(id)
            if before is None:
                assert after in {JobState.PENDING, JobState.SCHEDULED}
            elif before is not after:
                # A claim moves due jobs in first, so what is seen of it may be two moves at once.
                via_pending = before is JobState.SCHEDULED and after in MOVES[JobState.PENDING]
                assert after in MOVES[before] or via_pending, f"{id} went from {before} to {after}"
        assert self.states.keys() <= states.keys()
        self.states = states


TestStoreMoves = pytest.mark.timeout(60)(pytest.mark.slow(StoreMoves.TestCase))
TestStoreMoves.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
