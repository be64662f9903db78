"""How many calls of one key may run at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.core import QueueFull
from millhand.policy import Bulkhead

moves = st.lists(st.sampled_from(["take", "ended", "give_back", "join", "leave"]), max_size=60)


@given(st.integers(1, 4), st.none() | st.integers(0, 3), moves)
def test_a_bulkhead_counts_what_runs_and_what_waits(running: int, waiting: int | None, moves: list[str]) -> None:
    state = Bulkhead(running, waiting).fresh()
    inside, line = list[int](), list[int]()

    for number, move in enumerate(moves):
        if move == "take" and len(inside) < running:
            state.take(0.0)
            inside.append(number)
        elif move == "take":
            with pytest.raises(QueueFull):
                state.take(0.0)
        elif move == "join" and (waiting is None or len(line) < waiting):
            state.join_line()
            line.append(number)
        elif move == "join":
            with pytest.raises(QueueFull):
                state.join_line()
        elif move == "leave" and line:
            state.leave_line()
            line.pop()
        elif move == "ended" and inside:
            state.ended(0.0, started=0.0)
            inside.pop()
        elif move == "give_back" and inside:
            state.give_back(0.0, started=0.0)
            inside.pop()

        assert (state.running, state.waiting) == (len(inside), len(line))
        assert state.wait_needed(0.0) == (0.0 if len(inside) < running else math.inf)
        assert state.can_start_one == (bool(line) and len(inside) < running)
        assert state.is_at_rest(0.0) == (not inside and not line)


def test_a_refusal_says_how_many_run_or_wait() -> None:
    state = Bulkhead(2, waiting=1).fresh()
    state.take(0.0)
    state.take(0.0)
    state.join_line()

    with pytest.raises(QueueFull, match=r"2 of 2 .*running"):
        state.take(0.0)
    with pytest.raises(QueueFull, match=r"1 of 1 .*waiting"):
        state.join_line()


@pytest.mark.parametrize("fields", [{"running": 0}, {"running": 2.0}, {"running": 1, "waiting": -1}], ids=str)
def test_a_bulkhead_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        Bulkhead(**fields)
