"""Which exceptions are meant: as types, or as a predicate."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from enum import Enum
from typing import TypeAlias

Kinds: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
"""Exceptions by their types, as `except` has them."""

Which: TypeAlias = Kinds | Callable[[BaseException], bool]
"""Exceptions by their types, or by a function that is asked about each."""


class Verdict(Enum):
    """What the end of a call says about whom it was for (a service, say)."""

    GOOD = "good"
    BAD = "bad"
    NOTHING = "nothing"
    """It was cancelled, or ended by something that is no ordinary exception."""


def covers(which: Which, error: BaseException) -> bool:
    """Tell whether this exception is one of them. What a predicate raises passes through."""
    if isinstance(which, type | tuple):
        return isinstance(error, which)
    return bool(which(error))


def judge(failures: Kinds, error: BaseException | None) -> Verdict:
    """Return what an end says: an exception that is none of the failures is an answer, and as good as a result."""
    if error is None:
        return Verdict.GOOD
    if isinstance(error, CancelledError):  # first: it is an Exception, which most name as their failures
        return Verdict.NOTHING
    if covers(failures, error):
        return Verdict.BAD
    return Verdict.GOOD if isinstance(error, Exception) else Verdict.NOTHING


def check_kinds(name: str, kinds: object) -> None:
    """Raise ValueError unless these are types of exceptions."""
    types = kinds if isinstance(kinds, tuple) else (kinds,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):
        raise ValueError(f"{name} must be a type of exception or a tuple of such types, got {kinds!r}")


def check_which(name: str, which: object) -> None:
    """Raise ValueError unless these are types of exceptions, or a predicate."""
    if isinstance(which, type | tuple) or not callable(which):
        check_kinds(name, which)
