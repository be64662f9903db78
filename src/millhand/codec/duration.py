"""Durations as people write them: 30, 1.5, "30s", "5m", "1h30m"."""

from __future__ import annotations

import math
import re

from millhand.core.clock import Seconds

_SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d)\s*", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)


def parse_duration(value: str | float) -> Seconds:
    """Return the seconds that a number or a text such as "30s", "250ms" or "1h30m" stands for.

    A number, also as text, means seconds. Parts of one text are added up.

    >>> parse_duration("1m30s")
    90.0

    Raises:
        ValueError: when it is negative, not finite, or no duration at all.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f'a duration is a number of seconds or a text such as "30s" or "5m", got {value!r}')
    seconds = _parse_text(value) if isinstance(value, str) else _to_float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a duration must be a finite number of seconds and not negative, got {value!r}")
    return seconds


def _parse_text(text: str) -> Seconds:
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    parts, end = [], 0
    while found := _PART.match(stripped, end):
        parts.append(float(found[1]) * _SECONDS_IN[found[2]])
        end = found.end()
    if not parts or end != len(stripped):
        raise ValueError(
            f'{text!r} is not a duration; write seconds (30) or a unit: "250ms", "30s", "5m", "1h30m", "2d"'
        )
    return sum(parts)


def _to_float(number: float) -> Seconds:
    try:
        return float(number)
    except OverflowError:  # an int beyond what a float can hold
        return math.inf
