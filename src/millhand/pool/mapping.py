"""What `map` does: a function over the items of a source that may be endless, a bounded number at a time.

Guarantees:
    The source is read only in the thread that takes the results, and never further ahead than `buffersize`.
    Nothing that was read is lost while somebody takes results: each item gives its result, or its exception, or
    CancelledError; an exception of the source itself is raised behind the results of the items before it.
    When the consumer stops (an exception, a `break`, `close`), what waits is never run, and `check_cancelled` raises
    in what runs.

Where calls have limits, are told of one by one, or are not a thread's, each item is submitted. Else they are carried
(`pool.carried`), at a tenth of the cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, cast

from millhand.core.clock import Instant
from millhand.pool.crew import Crew
from millhand.pool.current import here
from millhand.pool.options import Options
from millhand.pool.progress import find_bar
from millhand.pool.source import Plan, Site, Source
from millhand.pool.task import monotonic
from millhand.pool.terms import FOREVER


def start(
    site: Site, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], plan: Plan
) -> Generator[Any, None, None]:
    """Begin a map; return the iterator of its results. Raises what the crew refuses work with."""
    if site.crew.refusal is not None:
        raise site.crew.refusal()
    draw = find_bar() if plan.progress else None
    source = Source(iterables, site.crew)
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    call = fn if len(iterables) == 1 else partial(_spread, fn)
    staff = site.crew.staff
    way = (
        staff.carried(site, call, source, plan, name)
        if isinstance(staff, Crew) and _can_carry(site)
        else Submitted(site, call, source, plan)
    )
    results = way.start()
    return results if draw is None else draw(results, name, source.size_hint or None)


def _spread(fn: Callable[..., Any], items: tuple[Any, ...]) -> Any:
    return fn(*items)


def _can_carry(site: Site) -> bool:
    """Return whether nobody wants to see each call, and a carrier can keep to what was asked for it."""
    options, worker = site.options, here.worker
    kept = Options(priority=options.priority, key=options.key)
    kept = replace(kept, when_full=options.when_full, submit_timeout=options.submit_timeout)
    return (
        site.plain
        and options == kept
        and not site.crew.listeners
        and site.crew.deadline == FOREVER
        and (worker is None or not (worker.limits or (worker.task is not None and worker.task.deadline < FOREVER)))
    )


class Submitted:
    """This is a map whose items are submitted, one by one, through a door with its options.

    Args:
        site: where.
        fn: called with an item.
        source: the items.
        plan: how.
    """

    def __init__(self, site: Site, fn: Callable[[Any], Any], source: Source, plan: Plan) -> None:
        self._fn, self._source, self._reading = fn, source, iter(source)
        self._submit: Callable[..., Any] | None = site.door.submit
        """None when the source is read to its end, so that this does not keep the pool from being collected."""
        self._staff = cast("Crew", site.crew.staff)
        self._pending: OrderedDict[Any, None] = OrderedDict()
        self._done: SimpleQueue[Any] | None = None if plan.ordered else SimpleQueue()
        self._room = plan.room_in(site.crew)
        self._due: Instant = FOREVER if plan.timeout is None else monotonic() + plan.timeout

    def start(self) -> Generator[Any, None, None]:
        """Have the first items done; return the iterator of results."""
        try:
            while len(self._pending) < self._room and self._add():
                pass
        except BaseException:
            self._stop()
            raise
        return self._results()

    def _results(self) -> Generator[Any, None, None]:
        try:
            while self._pending:
                result = [self._take()]
                self._add()
                yield result.pop()  # nothing here may hold the result meanwhile
            self._source.raise_verdict()
        except BaseException:
            self._stop()
            raise

    def _add(self) -> bool:
        for item in self._reading:
            if self._submit is None:
                break
            future = self._submit(self._fn, item)
            self._pending[future] = None
            if self._done is not None:
                future.add_done_callback(self._done.put)
            return True
        self._submit = None
        return False

    def _take(self) -> Any:
        future = next(iter(self._pending)) if self._done is None else self._next_done(self._done)
        try:
            result = future.result(None if self._due == FOREVER else self._due - monotonic())
            del self._pending[future]
            return result
        finally:
            del future  # what it raises holds this frame

    def _next_done(self, done: SimpleQueue[Any]) -> Any:
        left = None if self._due == FOREVER else max(0.0, self._due - monotonic())
        worker = here.worker
        try:
            if worker is None or worker.crew is not self._staff:
                return done.get(timeout=left)
            with self._staff.away(worker, None):
                return done.get(timeout=left)
        except Empty:
            raise TimeoutError from None

    def _stop(self) -> None:
        while self._pending:
            future: Any = self._pending.popitem()[0]
            future.cancel(running=True)
