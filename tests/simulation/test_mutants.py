"""Does the simulation find bugs? Each test puts one into the product, and the simulation must report it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from millhand.jobs.presence import Presence
from millhand.jobs.sqlite import housekeeping
from millhand.jobs.sqlite.deathlock import DeathLocks
from millhand.jobs.sqlite.statements import SQL
from millhand.runner.attempt import Attempt
from millhand.runner.claim import ClaimDuty
from millhand.runner.settle import Settle
from tests.auditor import Violation, audit
from tests.simulation.database import Database
from tests.simulation.world import World

pytestmark = pytest.mark.slow

SEEDS = 300
"""How many seeds a bug may hide from; most show within 5, those that need a zombie at the right moment within 50."""

Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def database() -> Iterator[Database]:
    with Database() as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def without(statement: str, *pieces: str) -> Mutation:
    return replacing(statement, *((piece, "") for piece in pieces))


def replacing(statement: str, *pairs: tuple[str, str]) -> Mutation:
    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        text = SQL[statement]
        for before, after in pairs:
            assert before in text, f"{statement}.sql has changed; write this mutant anew"
            text = text.replace(before, after)
        monkeypatch.setitem(SQL, statement, text)

    return mutate


def all_of(*mutations: Mutation) -> Mutation:
    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        for mutation in mutations:
            mutation(monkeypatch)

    return mutate


def having(owner: type, name: str, value: object) -> Mutation:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


FINISH_WITHOUT_TOKEN = all_of(
    without("finish", "jobs.token = ending.token AND "),
    without("finishable", "jobs.token = ending.value ->> 'token' AND "),
)
ORPHANS_WITHOUT_STATE = all_of(
    without("orphans", "INDEXED BY jobs_held", " AND state = 'processing'"),
    without("requeue_orphans", " AND +state = 'processing'"),
)
JUDGES_WITHOUT_OWN_BEATS = all_of(
    having(Presence, "_may_judge", lambda self, now: True),
    lambda monkeypatch: monkeypatch.setitem(
        SQL,
        "dead_runners",
        "SELECT id FROM runners WHERE expires_at < :now OR id IN (SELECT value FROM json_each(:dead))",
    ),
)

MUTANTS: dict[str, tuple[int, str, Mutation]] = {
    "finish takes any token": (2, "though token", FINISH_WITHOUT_TOKEN),
    "claim does not raise the token": (2, "in a claim", replacing("claim", ("token = token + 1, ", ""))),
    "rescue does not raise the token": (
        2,
        "in a rescue or release",
        replacing("requeue_orphans", ("token = token + 1, ", "")),
    ),
    "release does not raise the token": (
        2,
        "in a rescue or release",
        replacing("release", ("token = token + 1, ", "")),
    ),
    "rescue takes what has ended": (4, "no legal move", ORPHANS_WITHOUT_STATE),
    "reconcile forgets outcomes on their way": (3, "which lived", having(Settle, "held", property(lambda self: []))),
    "leases are judged by who could not beat itself": (3, "had not been silent", JUDGES_WITHOUT_OWN_BEATS),
    "a runner that was taken for dead claims": (
        4,
        "still processing",
        replacing("knows_runner", ("EXISTS (SELECT 1 FROM runners WHERE id = :runner)", ":runner IS NOT NULL")),
    ),
    "a runner that retires keeps what it could not give back": (
        4,
        "still processing",
        lambda monkeypatch: monkeypatch.setattr(housekeeping, "release_unknown", lambda *_, **__: 0),
    ),
    "a held death lock counts as free": (3, "was taken for dead", having(DeathLocks, "_is_free", lambda *_: True)),
    "an acknowledged job is not kept": (
        1,
        "does not know it",
        replacing("enqueue", ("WHERE true", "WHERE value ->> 'priority' < 1")),
    ),
    "an attempt ends twice": (8, "KeyError", having(Attempt, "take_ticket", lambda self: True)),
    "a free worker wakes nobody": (4, "still pending", having(ClaimDuty, "note_ended", lambda self: None)),
    "a move is not counted": (6, "are counted as", without("finishable", "AND jobs.state = 'processing'")),
}
"""Each mutant: the rule that it breaks, what the auditor says of it, and how it is made."""


def seeds_until(database: Database, rule: int, text: str) -> int | None:
    """Return how many seeds it takes until a violation of this rule with this text is reported."""

    def fits(violation: Violation) -> bool:
        return violation.rule == rule and text in str(violation)

    return next((n for n in range(1, SEEDS + 1) if any(map(fits, audit(World(n, database).run())))), None)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_is_found(name, database, monkeypatch):
    rule, text, mutate = MUTANTS[name]
    mutate(monkeypatch)

    needed = seeds_until(database, rule, text)

    assert needed is not None, f"{SEEDS} seeds did not show that {name}"
    print(f"{name}: found after {needed} seeds")
