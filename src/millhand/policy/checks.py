"""What numbers a setting may be: a wrong one is refused when the policy is made."""

from __future__ import annotations

import math


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless it is a finite number above 0."""
    # "not 0 < value" instead of "value <= 0", so that NaN does not pass
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError unless it is a whole number of at least so many."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
