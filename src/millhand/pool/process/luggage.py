"""Contextvars that go along with a call to its process: those of a list, since most could not be pickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from pkgutil import resolve_name
from typing import Any

Values = tuple[tuple[str, Any], ...]


class Luggage:
    """This takes along what a list of contextvars hold.

    Args:
        names: where they stand, as "package.module:name".

    Raises:
        ValueError: there is none.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._variables = tuple((name, find(name)) for name in names)

    def __bool__(self) -> bool:
        return bool(self._variables)

    def values(self) -> Values:
        """Return those that are set here, with their names."""
        here = copy_context()
        return tuple((name, here[variable]) for name, variable in self._variables if variable in here)


def find(name: str) -> ContextVar[Any]:
    """Return the contextvar of that name. Raises ValueError."""
    try:
        variable = resolve_name(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(
            f"context_vars must name contextvars, as 'package.module:name', got {name!r}: {error}"
        ) from error
    if not isinstance(variable, ContextVar):
        raise ValueError(f"context_vars must name contextvars, and {name} is a {type(variable).__qualname__}")
    return variable


def call_with(values: Values, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """In a worker process: call a function with contextvars that its submitter had."""
    context = copy_context()
    for name, value in values:
        context.run(find(name).set, value)
    return context.run(fn, *args, **kwargs)


def call_item_with(values: Values, fn: Callable[[Any], Any], item: object) -> Any:
    """In a worker process: the same for an item of a map."""
    return call_with(values, fn, (item,), {})
