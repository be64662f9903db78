"""The auditor itself: it passes a clean history, and reports each thing that must never happen."""

from __future__ import annotations

import pytest

from tests.auditor import Event, Kind, audit, read_history, to_line


def moves(*states: tuple[str, int], id: str = "a") -> list[Event]:
    """Return the moves of one job through these states, as (state, token)."""
    before = ("", *(state for state, _ in states))
    return [
        Event(kind=Kind.MOVED, id=id, before=before[index], state=state, token=token)
        for index, (state, token) in enumerate(states)
    ]


SUBMITTED = [Event(kind=Kind.SUBMITTED, id="a"), Event(kind=Kind.ACKNOWLEDGED, id="a")]
COMPLETED = [Event(kind=Kind.ENDED, id="a", state="completed", token=1)]


def claimed(token: int, runner: str = "r1") -> Event:
    return Event(kind=Kind.CLAIMED, id="a", token=token, runner=runner)


def begins(token: int, runner: str = "r1") -> Event:
    return Event(kind=Kind.EFFECT_BEGIN, id="a", token=token, runner=runner)


def ends(token: int, runner: str = "r1") -> Event:
    return Event(kind=Kind.EFFECT_END, id="a", token=token, runner=runner)


def finished(token: int, *, accepted: bool = True, state: str = "completed") -> Event:
    return Event(kind=Kind.FINISHED, id="a", token=token, accepted=accepted, state=state)


def runner(kind: Kind, id: str = "r1") -> Event:
    return Event(kind=kind, runner=id)


ATTEMPT = [claimed(1), begins(1), ends(1), finished(1)]

CLEAN = {
    "one attempt": [
        *SUBMITTED,
        *ATTEMPT,
        *moves(("pending", 0), ("processing", 1), ("completed", 1)),
        *COMPLETED,
        Event(kind=Kind.COUNTED, state="completed", n=1),
    ],
    "a second attempt, after the first failed": [
        *SUBMITTED,
        *(claimed(1), begins(1), ends(1), finished(1, state="scheduled")),
        *(claimed(2), begins(2), ends(2), finished(2)),
        *moves(
            ("pending", 0), ("processing", 1), ("scheduled", 1), ("pending", 1), ("processing", 2), ("completed", 2)
        ),
        Event(kind=Kind.ENDED, id="a", state="completed", token=2),
    ],
    "a second attempt beside a zombie, whose finish is refused": [
        *SUBMITTED,
        *(claimed(1), begins(1), runner(Kind.SILENT), runner(Kind.RESCUED)),
        *(claimed(3, "r2"), begins(3, "r2"), ends(1), finished(1, accepted=False), ends(3, "r2"), finished(3)),
        *moves(("pending", 0), ("processing", 1), ("pending", 2), ("processing", 3), ("completed", 3)),
        Event(kind=Kind.ENDED, id="a", state="completed", token=3),
    ],
    "a second attempt after a death": [
        *SUBMITTED,
        *(claimed(1), begins(1), runner(Kind.DIED), runner(Kind.RESCUED)),
        *(claimed(3, "r2"), begins(3, "r2"), ends(3, "r2"), finished(3)),
        Event(kind=Kind.ENDED, id="a", state="completed", token=3),
    ],
    "a finish that is delivered again, much later": [
        *SUBMITTED,
        *(claimed(1), begins(1), ends(1), finished(1, state="scheduled"), claimed(2), finished(1, accepted=False)),
        *(begins(2), ends(2), finished(2)),
        Event(kind=Kind.ENDED, id="a", state="completed", token=2),
    ],
    "refused, and taken when there was room": [
        *(Event(kind=Kind.SUBMITTED, id="a"), Event(kind=Kind.REFUSED, id="a")),
        *(*SUBMITTED, *ATTEMPT, *COMPLETED),
    ],
    "given back at the end of the grace, while it still runs": [
        *(*SUBMITTED, claimed(1), begins(1), runner(Kind.STOPPED)),
        *(claimed(3, "r2"), begins(3, "r2"), ends(3, "r2"), finished(3)),
        Event(kind=Kind.ENDED, id="a", state="completed", token=3),
    ],
}

BROKEN = {
    "acknowledged and lost": (1, "does not know it", [*SUBMITTED]),
    "completed without an effect": (1, "never came to an end", [*SUBMITTED, claimed(1), finished(1), *COMPLETED]),
    "an accepted outcome undone": (
        1,
        "was accepted as completed, and is failed",
        [*SUBMITTED, *ATTEMPT, Event(kind=Kind.ENDED, id="a", state="failed")],
    ),
    "a token given out twice": (2, "after token 1", [*ATTEMPT, claimed(1, "r2"), *COMPLETED]),
    "a stale finish taken": (
        2,
        "finished with token 1, though token 3",
        [claimed(1), ends(1), runner(Kind.DIED), claimed(3, "r2"), finished(1)],
    ),
    "a stale result kept": (
        2,
        "has the result of token 1",
        [claimed(1), ends(1), claimed(3, "r2"), ends(3, "r2"), *COMPLETED],
    ),
    "a claim that does not raise the token": (2, "in a claim", moves(("pending", 1), ("processing", 1))),
    "a rescue that does not raise the token": (
        2,
        "in a rescue or release",
        moves(("pending", 0), ("processing", 1), ("pending", 1)),
    ),
    "two live attempts": (
        3,
        "ran on r2 with token 2, while r1, which lived",
        [claimed(1), begins(1), claimed(2, "r2"), begins(2, "r2"), ends(1), ends(2, "r2")],
    ),
    "two live attempts, the older begun last": (
        3,
        "ran on r2 with token 2, while r1, which lived",
        [claimed(1), claimed(2, "r2"), begins(2, "r2"), begins(1), ends(1), ends(2, "r2")],
    ),
    "one attempt begun twice": (3, "begun 2 times", [claimed(1), begins(1), begins(1), ends(1)]),
    "a living runner robbed of a job": (3, "was taken from r1, which lived", [claimed(1), finished(1, accepted=False)]),
    "a living runner taken for dead": (3, "had not been silent", [runner(Kind.BEAT), runner(Kind.RESCUED)]),
    "a runner that spoke again taken for dead": (
        3,
        "had not been silent",
        [runner(Kind.SILENT), runner(Kind.BEAT), runner(Kind.RESCUED)],
    ),
    "a job without an end": (4, "is still pending", [Event(kind=Kind.ENDED, id="a", state="pending")]),
    "a completed job run again": (
        4,
        "from completed to pending",
        moves(("pending", 0), ("processing", 1), ("completed", 1), ("pending", 2)),
    ),
    "a job born completed": (4, "from nothing to completed", moves(("completed", 0))),
    "a move that nobody saw": (
        4,
        "was left pending, and is completed",
        [*moves(("pending", 0)), ends(1), *COMPLETED],
    ),
    "a wrong count": (
        6,
        "counted as 2, and are 1",
        [ends(1), *COMPLETED, Event(kind=Kind.COUNTED, state="completed", n=2)],
    ),
    "an unexpected exception": (8, "KeyError", [Event(kind=Kind.RAISED, runner="r1", text="KeyError('a')")]),
    "refused and kept": (9, "is kept all the same", [Event(kind=Kind.REFUSED, id="a"), ends(1), *COMPLETED]),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_history_passes(name):
    assert [str(violation) for violation in audit(CLEAN[name])] == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_violation_is_reported_with_its_rule_and_in_words(name):
    rule, words, history = BROKEN[name]

    [found] = audit(history)

    assert found.rule == rule
    assert words in str(found)


def test_histories_of_several_processes_are_read_in_the_order_of_time(tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_bytes(
        to_line(Event(kind=Kind.CLAIMED, id="a", at=1.0)) + to_line(Event(kind=Kind.FINISHED, id="a", at=3.0))
    )
    other.write_bytes(to_line(Event(kind=Kind.EFFECT_END, id="a", at=2.0)))

    history = read_history(one, other)

    assert [event.kind for event in history] == [Kind.CLAIMED, Kind.EFFECT_END, Kind.FINISHED]
