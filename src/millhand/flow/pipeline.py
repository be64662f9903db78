"""Stages in a row, each with workers of its own: what one gives, the next one takes.

    for row in lines | stage(parse, workers=4) | stage(store, pool=database):
        ...

What happens while it runs stands in `conveyor` (the whole) and `station` and `errands`
(one stage).
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, cast

from millhand.core.errors import StageError
from millhand.flow.conveyor import Conveyor
from millhand.flow.errands import ThreadStation
from millhand.flow.station import PoolStation, StageStats, Station, check_count
from millhand.pool import Pool, PoolView, ThreadPool

ROOM = 1024
"""How many items may be under way by default, at least: the more, the more of them share a wake-up."""

OnError: TypeAlias = "Literal['stop'] | Callable[[StageError], object]"


@dataclass(frozen=True, slots=True)
class Stage:
    """This is one step of a pipeline; `stage` makes it, and says what it is told."""

    fn: Callable[[Any], Any]
    workers: int | None = None
    pool: Pool | PoolView | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ValueError(f"a stage needs a function of one value, got {self.fn!r}")
        if self.workers is not None:
            check_count("workers", self.workers)
        if self.pool is not None and not isinstance(self.pool, Pool | PoolView):
            raise ValueError(f"pool must be a pool or a view of one, or None for threads of its own, got {self.pool!r}")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.fn, "__name__", type(self.fn).__name__))

    def __or__(self, other: Stage) -> Pipeline:
        return Pipeline(self) | other

    def __ror__(self, source: Iterable[Any] | AsyncIterable[Any]) -> Run:
        return source | Pipeline(self)


def stage(
    fn: Callable[[Any], Any],
    *,
    workers: int | None = None,
    pool: Pool | PoolView | None = None,
    name: str | None = None,
) -> Stage:
    """Return a stage that calls `fn` with each value.

    Args:
        fn: what is called; an async function if the pool is a CoroutinePool.
        workers: how many calls may be under way at once. None: as many as the pool lets run.
        pool: where they run, with their options if it is a view. None: in threads of its own, for as long as a run
            lasts.
        name: for errors and stats; None: the function's.

    Raises:
        ValueError: an argument is not what it should be; the message says which.
    """
    return Stage(fn, workers, pool, name or "")


@dataclass(frozen=True, slots=True, init=False)
class Pipeline:
    """This is a row of stages, to be run over any number of sources.

    Args:
        stages: in the order in which they take an item.
        ordered: whether results come in the order of their items, or as they come out of the last stage.
        on_error: "stop": the first item that fails ends the run, where its result would have come, with a
            StageError. Or a function that is called with the StageError of each item that fails, in its place,
            where the results are taken; the run goes on.
        buffersize: how many items may be between the source and the consumer. None: 1024, and at least twice as
            many as the stages have workers.

    Raises:
        ValueError: an argument is not what it should be; the message says which.
    """

    stages: tuple[Stage, ...]
    ordered: bool
    on_error: OnError
    buffersize: int | None

    def __init__(
        self, *stages: Stage, ordered: bool = True, on_error: OnError = "stop", buffersize: int | None = None
    ) -> None:
        wrong = next((each for each in stages if not isinstance(each, Stage)), None)
        if wrong is not None or not stages:
            raise ValueError(f"a pipeline is made of at least one stage, as by stage(fn), got {wrong!r}")
        if on_error != "stop" and not callable(on_error):
            raise ValueError(f"on_error must be 'stop' or a function that takes a StageError, got {on_error!r}")
        if buffersize is not None:
            check_count("buffersize", buffersize)
        for field, value in zip(self.__slots__, (stages, ordered, on_error, buffersize), strict=True):
            object.__setattr__(self, field, value)

    def __or__(self, other: Stage) -> Pipeline:
        if not isinstance(other, Stage):
            return NotImplemented
        return Pipeline(*self.stages, other, ordered=self.ordered, on_error=self.on_error, buffersize=self.buffersize)

    def __ror__(self, source: Iterable[Any] | AsyncIterable[Any]) -> Run:
        return Run(self, source)

    def run(self, source: Iterable[Any]) -> Run:
        """Return a run over a source: `for result in pipeline.run(items)`. It begins when it is iterated."""
        return Run(self, source)

    def arun(self, source: Iterable[Any] | AsyncIterable[Any]) -> Run:
        """Return a run for asyncio: `async for result in pipeline.arun(items)`. It begins when it is iterated."""
        return Run(self, source)


class Run:
    """This is one run of a pipeline: an iterator of its results, for `for` or for `async for`.

    It begins with the first result that is asked for, and reads the source as far as there is room. When it ends,
    by the last result, an error, `break`, `close` or Ctrl-C, nothing of it waits, and what runs was asked to stop
    (`check_cancelled`) and waited for, a second at most. Its own threads have ended then, except for one that takes
    no notice.

    To leave an `async for` does not close what it iterates: `async with pipeline.arun(source) as results` does.

    Raises, where a result is taken:
        StageError: an item has failed, and `on_error` is "stop".
        TaskCancelled: after `cancel`.
        Whatever the source raises, behind the results of what was read before.
    """

    def __init__(self, pipeline: Pipeline, source: Iterable[Any] | AsyncIterable[Any]) -> None:
        if not isinstance(source, Iterable | AsyncIterable):
            raise ValueError(f"the source of a pipeline must be iterable, got {source!r}")
        self._pipeline, self._source = pipeline, source
        self._conveyor: Conveyor | None = None
        self._making = threading.Lock()
        """Held while that is made, by whichever thread needs it first."""
        self._results: Generator[Any, None, None] | None = None
        self._async_results: AsyncGenerator[Any, None] | None = None

    def __or__(self, other: Stage) -> Run:
        if self._conveyor is not None:
            raise ValueError(f"this run has begun and takes no more stages; add {other!r} before it is iterated")
        return Run(self._pipeline | other, self._source)

    def __iter__(self) -> Generator[Any, None, None]:
        # Not self: a call of `__next__` for each result is a twentieth of what a no-op item costs.
        if self._results is None:
            if not isinstance(self._source, Iterable):
                raise TypeError("the source is an async iterable: use `async for`")
            conveyor, sink = self._begin()
            self._results = conveyor.results(self._source, sink)
        return self._results

    def __next__(self) -> Any:
        return next(iter(self))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._async_results is None:
            conveyor, sink = self._begin()
            self._async_results = cast("Any", conveyor.async_results(self._source, sink))
        return await anext(self._async_results)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def close(self) -> None:
        """Stop: what waits never runs, what runs is asked to stop. May be called again."""
        if self._results is not None:
            self._results.close()

    async def aclose(self) -> None:
        """Stop, as `close`, a run that is iterated by `async for`."""
        if self._async_results is not None:
            await self._async_results.aclose()

    def drain(self) -> None:
        """Read the source no further, and come to an end with what was read; from any thread.

        It has no effect on who reads the source right now, if that waits there.
        """
        self._under_way().drain()

    def cancel(self) -> None:
        """Stop everything, and have TaskCancelled raised where the results are taken; from any thread."""
        self._under_way().cancel()

    def stats(self) -> tuple[StageStats, ...]:
        """Return one look at each stage; from any thread."""
        conveyor, looks = self._under_way(), list[StageStats]()
        received = conveyor.received
        for station in conveyor.stations:
            looks.append(station.stats(received))
            received = looks[-1].passed
        return tuple(looks)

    def _begin(self) -> tuple[Conveyor, Callable[[StageError], object]]:
        if self._results is not None or self._async_results is not None:
            raise RuntimeError("this run was begun by the other of `for` and `async for`; make another one")
        on_error = self._pipeline.on_error
        return self._under_way(), _raise if on_error == "stop" else on_error

    def _under_way(self) -> Conveyor:
        """Return what carries the items, made when it is needed first."""
        with self._making:
            if self._conveyor is None:
                self._conveyor = set_up(self._pipeline)
            return self._conveyor


def set_up(pipeline: Pipeline) -> Conveyor:
    """Return what carries the items of one run; no thread is started yet."""
    pools = ExitStack()
    places = [(each, *_place_of(each, pools)) for each in pipeline.stages]
    room = pipeline.buffersize or max(ROOM, 2 * sum(limit for *_, limit in places))
    name = " | ".join(each.name for each in pipeline.stages)
    conveyor = Conveyor(name, pools, room=room, ordered=pipeline.ordered)
    stations: list[Station] = []
    for each, pool, limit in places:
        if isinstance(pool, ThreadPool):
            shared = each.pool is not None
            stations.append(ThreadStation(each.name, each.fn, limit, conveyor, pool=pool, shared=shared))
        else:
            stations.append(PoolStation(each.name, each.fn, each.workers or room, conveyor, pool=pool))
    for station, following in pairwise(stations):
        station.following = following
    stations[-1].following = conveyor
    conveyor.stations = stations
    return conveyor


def _place_of(each: Stage, pools: ExitStack) -> tuple[Pool | PoolView, int]:
    """Return where a stage runs, and how many of its calls may run at once; 0 if that is not to be told."""
    pool = each.pool
    if pool is None:
        pool = pools.enter_context(ThreadPool(each.workers, each.name))
    if each.workers is not None:
        return pool, each.workers
    if not isinstance(pool, Pool):
        return pool, 0
    stats = pool.stats()
    return pool, max(1, stats.workers, stats.running + pool.idle)


def _raise(failure: StageError) -> None:
    raise failure
