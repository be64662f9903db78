"""What a `map` reads, and where and how it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextvars import Context
from dataclasses import dataclass
from itertools import islice
from operator import length_hint
from typing import Any

from millhand.core.clock import Seconds
from millhand.pool.admission import Admission
from millhand.pool.options import Options


@dataclass(frozen=True, slots=True)
class Site:
    """This is where a map is done."""

    door: Executor
    """The pool, or a view of it."""
    crew: Admission
    options: Options
    context: Context
    """What each call starts with a copy of."""
    plain: bool
    """Whether its `submit` is the pools' own: who replaces that, as tqdm does, wants to see each call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """This is how a map is to be done.

    Raises:
        TypeError, ValueError: `buffersize` is no whole number of at least 1, nor None.
    """

    timeout: Seconds | None = None
    buffersize: int | None = None
    ordered: bool = True
    progress: bool = False

    def __post_init__(self) -> None:
        if self.buffersize is not None and not isinstance(self.buffersize, int):
            raise TypeError(f"buffersize must be a whole number or None, got {self.buffersize!r}")
        if self.buffersize is not None and self.buffersize < 1:
            raise ValueError(f"buffersize must be at least 1 or None, got {self.buffersize!r}")

    def room_in(self, crew: Admission) -> int:
        """Return how many items may be on their way."""
        return self.buffersize or max(1, crew.line.size)


class Source:
    """This reads the items, in the consumer's thread.

    Args:
        iterables: read side by side, until the shortest ends.
        crew: when it takes no more work, nothing more is read.
    """

    def __init__(self, iterables: tuple[Iterable[Any], ...], crew: Admission) -> None:
        self.size_hint = min(map(length_hint, iterables), default=0)
        self.verdict: BaseException | None = None
        """What is to be raised behind the last result, if it was not the last item that ended this."""
        self._crew = crew
        self._items: Iterator[Any] = zip(*iterables, strict=False) if len(iterables) != 1 else iter(iterables[0])

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._items:
                refusal = self._crew.refusal
                if refusal is not None:
                    self.verdict = self.verdict or refusal()
                if self.verdict is not None:
                    return
                yield item
        except Exception as error:  # noqa: BLE001 - the source's own; it stands behind the items before it
            self.verdict = error

    def read(self, n: int) -> list[Any]:
        """Return the next items, at most `n`; none if that was all."""
        items: list[Any] = []
        refusal = self._crew.refusal
        if refusal is not None:
            self.verdict = self.verdict or refusal()
        if self.verdict is None:
            try:
                items.extend(islice(self._items, n))  # not list(): what was read before an error counts
            except Exception as error:  # noqa: BLE001 - as above
                self.verdict = error
        return items

    def raise_verdict(self) -> None:
        """Raise it, if there is one."""
        verdict, self.verdict = self.verdict, None
        try:
            if verdict is not None:
                raise verdict
        finally:
            del verdict  # its traceback holds this frame
