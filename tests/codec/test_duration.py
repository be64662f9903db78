"""Durations as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from millhand.codec import parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (30, 30.0),
        (1.5, 1.5),
        (0, 0.0),
        ("30", 30.0),
        ("30s", 30.0),
        (" 5m ", 300.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2d", 172800.0),
        ("1h30m", 5400.0),
        ("1m 30s", 90.0),
    ],
)
def test_a_duration_is_read_as_people_write_it(value: str | float, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "s", "5 minutes", "30x", "1h!", "-1s", "٣s", "1e3", "nan", "inf"])
def test_a_text_that_is_no_duration_is_refused_with_an_example(value: str) -> None:
    with pytest.raises(ValueError, match="write seconds"):
        parse_duration(value)


@pytest.mark.parametrize("value", [-1, -0.001, float("inf"), float("nan"), 10**400, "9" * 400])
def test_a_duration_that_is_negative_or_endless_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds and not negative"):
        parse_duration(value)


@pytest.mark.parametrize("value", [True, None, [1], b"30s"])
def test_what_is_neither_number_nor_text_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(value)
