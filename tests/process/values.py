"""What calls return or raise in the tests of frames: results of every kind, some of which cannot travel."""

from __future__ import annotations

import threading
from typing import Any, NoReturn

from hypothesis import strategies as st

from millhand.core.errors import NotPicklable
from millhand.pool.process.parcel import LARGE
from millhand.pool.process.sheet import ROOM


class Buffer:
    """This travels as NumPy's arrays do, as a buffer beside the pickle, and is equal to another with the same."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        from pickle import PickleBuffer

        return Buffer, (PickleBuffer(self.data),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Buffer) and bytes(self.data) == bytes(other.data)

    __hash__ = None  # type: ignore[assignment]  # it may be written to


class Told(Exception):
    """This is an error that travels, with what it has to tell."""


class NeedsTwo(Exception):
    """This cannot be unpickled: what it was made from is not in its `args`."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Stays:
    """This cannot be pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("it stays where it is")


class FailsOnArrival:
    """This can be pickled, and not be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


def refuse() -> NoReturn:
    """Refuse to be made."""
    raise LookupError("it is not welcome")


def give(recipe: tuple[str, Any]) -> Any:
    """Return what a recipe asks for, or raise it."""
    kind, value = recipe
    match kind:
        case "bytes":
            return b"x" * value
        case "buffer":
            return Buffer(bytearray(b"b") * value)
        case "error":
            raise Told(value)
        case "large error":
            raise Told("e" * value)
        case "stays":
            return Stays()
        case "lock in an error":
            raise Told(threading.Lock())
        case "needs two":
            raise NeedsTwo(1, 2)
        case "fails on arrival":
            return FailsOnArrival()
    return value


def expected(recipe: tuple[str, Any]) -> tuple[type, str]:
    """Return the type of what a recipe leads to, and what it says: its text, or its size."""
    kind, value = recipe
    match kind:
        case "error":
            return Told, repr(Told(value))
        case "large error":
            return Told, repr(Told("e" * value))
        case "stays" | "lock in an error" | "needs two" | "fails on arrival":
            return NotPicklable, ""
    return seen(give(recipe))


def seen(outcome: Any) -> tuple[type, str]:
    """Return the same of what has come."""
    if isinstance(outcome, NotPicklable):
        return NotPicklable, ""
    if isinstance(outcome, bytes | Buffer):
        data = outcome if isinstance(outcome, bytes) else bytes(outcome.data)
        return type(outcome), f"{len(data)} times {set(data)}"
    return type(outcome), repr(outcome)


_SMALL = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0]),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.tuples(st.integers(), st.none(), st.text(max_size=3)),
)
_SIZES = st.sampled_from([0, 1, ROOM // 3, ROOM // 3, LARGE - 100, LARGE, LARGE + 1, ROOM + 1, 3 * ROOM])

RECIPES = st.one_of(
    st.tuples(st.just("value"), _SMALL),
    st.tuples(st.just("value"), _SMALL),  # as often as all others
    st.tuples(st.sampled_from(["bytes", "buffer", "large error"]), _SIZES),
    st.tuples(st.just("error"), st.text(max_size=5)),
    st.tuples(st.sampled_from(["stays", "lock in an error", "needs two"]), st.none()),
)
