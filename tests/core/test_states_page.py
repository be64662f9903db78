"""The page on states shows the table that the code holds."""

from __future__ import annotations

import re
from pathlib import Path

from millhand.core.job import MOVES, JobState

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "states.md"


def test_the_diagram_shows_exactly_the_legal_moves() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", PAGE.read_text(), re.MULTILINE))

    assert drawn == {(before.value, after.value) for before, moves in MOVES.items() for after in moves}


def test_every_state_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)

    assert sorted(explained) == sorted(JobState)
