"""A bar that shows how far a `map` is, drawn by rich or tqdm: whichever is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeAlias

Draw: TypeAlias = Callable[[Iterator[Any], str, int | None], Generator[Any, None, None]]


def find_bar() -> Draw:
    """Return what passes results on, given a name and how many there will be, and draws how many were taken.

    Raises:
        ImportError: neither rich nor tqdm is installed.
    """
    for module, draw in (("rich.progress", _draw_with_rich), ("tqdm", _draw_with_tqdm)):
        with suppress(ModuleNotFoundError):
            import_module(module)
            return lambda results, name, total, draw=draw: _closing(draw(results, name, total), results)  # type: ignore[misc]  # mypy cannot infer a default
    raise ImportError("progress=True needs a library that draws: pip install rich, or tqdm")


def _draw_with_rich(results: Iterator[Any], name: str, total: int | None) -> Iterator[Any]:
    progress, console = import_module("rich.progress"), import_module("rich.console")
    tracked: Iterator[Any] = progress.track(results, name, total, console=console.Console(file=sys.stderr))
    return tracked


def _draw_with_tqdm(results: Iterator[Any], name: str, total: int | None) -> Iterator[Any]:
    return iter(import_module("tqdm").tqdm(results, name, total, file=sys.stderr))


def _closing(drawn: Iterator[Any], results: Any) -> Generator[Any, None, None]:
    """Pass on what is drawn; whoever closes this closes the results, too."""
    try:
        yield from drawn
    finally:
        results.close()
