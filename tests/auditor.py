"""The auditor: reads the full history of a run, and reports everything in it that must never happen.

A history is a sequence of `Event`s in the order in which they happened, as a list or as a JSONL file
(`read_history`). Crash, simulation and soak tests write one and end with `audit`. The rules carry the numbers
of the design's invariants; a kind of event that a test cannot observe is left out, and what only it could
prove is then not checked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import msgspec

from millhand.core.job import MOVES, JobState


class Kind(StrEnum):
    """What happened; behind each kind, the fields of `Event` that it uses."""

    SUBMITTED = "submitted"  # id
    ACKNOWLEDGED = "acknowledged"  # id: the submitter was told that it is kept
    REFUSED = "refused"  # id: it was not kept
    CLAIMED = "claimed"  # id, token, runner, at: committed, whether or not the runner heard of it
    EFFECT_BEGIN = "effect_begin"  # id, token, attempt, runner, at: written by the handler
    EFFECT_END = "effect_end"  # the same
    FINISHED = "finished"  # id, token, accepted, state: what a finish was answered
    BEAT = "beat"  # runner: the store took its sign of life
    SILENT = "silent"  # runner: kept from beating for longer than its lease, by its own fault
    DIED = "runner_died"  # runner
    STOPPED = "stopped"  # runner: at the end of its grace it let go of all it held
    RESCUED = "rescued"  # runner: the store took it for dead and freed its jobs
    MOVED = "moved"  # id, before ("": born), state, token: one row as the database itself saw it
    RAISED = "raised"  # text: a step ended with an exception that nobody expects
    COUNTED = "counted"  # state, n: what the store's counters say at the end
    ENDED = "ended"  # id, state, token (whose result is kept, if the handlers return theirs): every job that is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    kind: Kind
    id: str = ""
    token: int = 0
    attempt: int = 0
    runner: str = ""
    at: float = 0.0
    accepted: bool = False
    before: str = ""
    state: str = ""
    n: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not happen, and did. `rule` is the invariant's number in the design."""

    rule: int
    subject: str
    text: str

    def __str__(self) -> str:
        return f"({self.rule}) {self.subject} {self.text}"


History = Sequence[Event]


def audit(history: Iterable[Event]) -> list[Violation]:
    """Return every violation in a history, in the order of the rules."""
    events = list(history)
    checks = (_find_lost, _find_stale, _find_two_at_once, _find_robbed, _find_unended, _find_illegal_moves)
    found = [violation for check in checks for violation in check(events)]
    return sorted([*found, *_find_miscounted(events), *_find_raised(events)], key=lambda violation: violation.rule)


def read_history(*files: Path) -> list[Event]:
    """Read histories from JSONL files; events of several files are put in order by their `at`."""
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    events = [msgspec.json.decode(line, type=Event) for line in lines]
    return sorted(events, key=lambda event: event.at) if len(files) > 1 else events


def to_line(event: Event) -> bytes:
    """Return an event as one line of a JSONL file."""
    return msgspec.json.encode(event) + b"\n"


# ── (1) nothing acknowledged is lost, (9) nothing refused is kept ────────────────────────────────────────────────────


def _find_lost(history: History) -> Iterator[Violation]:
    final = _final_states(history)
    acknowledged = {event.id for event in history if event.kind is Kind.ACKNOWLEDGED}
    effects = {event.id for event in history if event.kind is Kind.EFFECT_END}
    for id in sorted(acknowledged - final.keys()):
        yield Violation(1, id, "was acknowledged, and the store does not know it")
    for id in sorted(acknowledged & final.keys()):
        if final[id] is JobState.COMPLETED and id not in effects:
            yield Violation(1, id, "is completed, and its handler never came to an end")
    for id, state in _accepted_ends(history):
        if final.get(id, state) is not state:
            yield Violation(1, id, f"was accepted as {state}, and is {final[id]} at the end")
    for id in sorted(_refused(history) & final.keys()):
        yield Violation(9, id, "was refused, and is kept all the same")


def _accepted_ends(history: History) -> Iterator[tuple[str, JobState]]:
    for event in history:
        if event.kind is Kind.FINISHED and event.accepted and JobState(event.state).is_end:
            yield event.id, JobState(event.state)


def _refused(history: History) -> set[str]:
    refused: set[str] = set()
    for event in history:
        if event.kind is Kind.REFUSED:
            refused.add(event.id)
        elif event.kind is Kind.ACKNOWLEDGED:  # it was submitted anew, and then there was room
            refused.discard(event.id)
    return refused


def _final_states(history: History) -> Mapping[str, JobState]:
    return {event.id: JobState(event.state) for event in history if event.kind is Kind.ENDED}


# ── (2) a stale token changes nothing ────────────────────────────────────────────────────────────────────────────────


def _find_stale(history: History) -> Iterator[Violation]:
    highest: dict[str, int] = defaultdict(int)
    for event in history:
        if event.kind is Kind.CLAIMED:
            if event.token <= highest[event.id]:
                text = f"was claimed by {event.runner} with token {event.token}, after token {highest[event.id]}"
                yield Violation(2, event.id, text)
            highest[event.id] = max(highest[event.id], event.token)
        elif event.kind is Kind.FINISHED and event.accepted and event.token < highest[event.id]:
            text = f"was finished with token {event.token}, though token {highest[event.id]} had been given out"
            yield Violation(2, event.id, text)
        elif event.kind is Kind.ENDED and 0 < event.token < highest[event.id]:
            text = f"has the result of token {event.token}, though token {highest[event.id]} had been given out"
            yield Violation(2, event.id, text)
    for id, moves in _moves_by_job(history).items():
        yield from _find_tokens_not_raised(id, moves)


def _find_tokens_not_raised(id: str, moves: Sequence[Event]) -> Iterator[Violation]:
    raised_by = {("pending", "processing"): "claim", ("processing", "pending"): "rescue or release"}
    for earlier, later in pairwise(moves):
        what = raised_by.get((later.before, later.state))
        if later.token < earlier.token or (what and later.token == earlier.token):
            text = f"went from token {earlier.token} to {later.token} in a {what or 'move'}"
            yield Violation(2, id, text)


# ── (3) no two live attempts of one job while its runner lives ───────────────────────────────────────────────────────


NEVER = float("inf")


class _Fates:
    """When each runner died, stopped, or was taken for dead: positions in the history."""

    def __init__(self, history: History) -> None:
        self._gone: dict[str, list[int]] = defaultdict(list)
        for position, event in enumerate(history):
            if event.kind in {Kind.DIED, Kind.STOPPED, Kind.RESCUED}:
                self._gone[event.runner].append(position)

    def first_gone(self, runner: str, since: int) -> float:
        return next((position for position in self._gone[runner] if position > since), NEVER)


@dataclass(slots=True)
class _Attempt:
    token: int
    runner: str
    claimed: int
    begun: float = NEVER
    ended: float = NEVER


def _attempts_by_job(history: History) -> Mapping[str, Mapping[int, _Attempt]]:
    found: dict[str, dict[int, _Attempt]] = defaultdict(dict)
    for position, event in enumerate(history):
        if event.kind in {Kind.CLAIMED, Kind.EFFECT_BEGIN, Kind.EFFECT_END}:
            attempt = found[event.id].setdefault(event.token, _Attempt(event.token, event.runner, position))
            if event.kind is Kind.EFFECT_BEGIN:
                attempt.begun = min(position, attempt.begun)
            elif event.kind is Kind.EFFECT_END:
                attempt.ended = position
    return found


def _find_two_at_once(history: History) -> Iterator[Violation]:
    fates = _Fates(history)
    for id, attempts in _attempts_by_job(history).items():
        begun = sorted((a for a in attempts.values() if a.begun < NEVER), key=lambda attempt: attempt.token)
        for index, older in enumerate(begun):
            gone = fates.first_gone(older.runner, older.claimed)
            for newer in begun[index + 1 :]:
                overlap = newer.begun < min(older.ended, gone) and older.begun < newer.ended
                if overlap and gone > newer.begun:
                    text = (
                        f"ran on {newer.runner} with token {newer.token}, while {older.runner}, which lived, "
                        f"was still running it with token {older.token}"
                    )
                    yield Violation(3, id, text)
    beginnings = Counter((event.id, event.token) for event in history if event.kind is Kind.EFFECT_BEGIN)
    for (id, token), times in beginnings.items():
        if times > 1:
            yield Violation(3, id, f"was begun {times} times with the one token {token}")


def _find_robbed(history: History) -> Iterator[Violation]:
    """Who lives and beats keeps its jobs: it is not taken for dead, and its outcomes are accepted."""
    fates = _Fates(history)
    attempts = _attempts_by_job(history)
    at_fault: set[str] = set()
    accepted: set[tuple[str, int]] = set()
    for position, event in enumerate(history):
        match event.kind:
            case Kind.SILENT | Kind.DIED | Kind.STOPPED:
                at_fault.add(event.runner)
            case Kind.BEAT:
                at_fault.discard(event.runner)
            case Kind.RESCUED if event.runner not in at_fault:
                yield Violation(3, event.runner, "was taken for dead, though it lived and had not been silent")
            case Kind.FINISHED if event.accepted:
                accepted.add((event.id, event.token))
            case Kind.FINISHED if (event.id, event.token) not in accepted:
                attempt = attempts[event.id].get(event.token)
                if attempt and fates.first_gone(attempt.runner, attempt.claimed) > position:
                    text = (
                        f"was taken from {attempt.runner}, which lived: its finish with token {event.token} was refused"
                    )
                    yield Violation(3, event.id, text)


# ── (4) every job reaches an end, by legal moves ─────────────────────────────────────────────────────────────────────


def _find_unended(history: History) -> Iterator[Violation]:
    for id, state in _final_states(history).items():
        if not state.is_end:
            yield Violation(4, id, f"is still {state} at the end")


def _find_illegal_moves(history: History) -> Iterator[Violation]:
    final = _final_states(history)
    for id, moves in _moves_by_job(history).items():
        state = ""
        for move in moves:
            if move.before != state:
                yield Violation(4, id, f"was left {state or 'unborn'}, and moved on from {move.before or 'nothing'}")
            if move.state not in _legal_after(move.before):
                yield Violation(4, id, f"went from {move.before or 'nothing'} to {move.state}, which is no legal move")
            state = move.state
        if id in final and final[id] != state:
            yield Violation(4, id, f"was left {state}, and is {final[id]} at the end")


def _legal_after(state: str) -> frozenset[JobState]:
    born = frozenset({JobState.PENDING, JobState.SCHEDULED})
    return MOVES[JobState(state)] if state else born


def _moves_by_job(history: History) -> Mapping[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in history:
        if event.kind is Kind.MOVED:
            found[event.id].append(event)
    return found


# ── (6) counters add up, (8) a bad job hurts only itself ─────────────────────────────────────────────────────────────


def _find_miscounted(history: History) -> Iterator[Violation]:
    really = Counter(_final_states(history).values())
    for event in history:
        if event.kind is Kind.COUNTED and event.n != really[JobState(event.state)]:
            text = f"jobs are counted as {event.n}, and are {really[JobState(event.state)]}"
            yield Violation(6, event.state, text)


def _find_raised(history: History) -> Iterator[Violation]:
    for event in history:
        if event.kind is Kind.RAISED:
            yield Violation(8, event.runner or "somebody", f"raised {event.text}")
