"""The front door of kept jobs: submit now, run for certain.

Shutdown: `close` stops the watch, writes what was asked for, closes the database. Jobs stay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any, TypeVar, overload

from millhand.codec import FunctionSignature
from millhand.core.clock import Seconds
from millhand.core.errors import UnknownJobType
from millhand.core.job import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, NewJob
from millhand.jobs.draft import JobOptions, make_draft
from millhand.jobs.handle import JobHandle
from millhand.jobs.registry import Registry
from millhand.jobs.sqlite import SqliteStore
from millhand.jobs.store import Store
from millhand.jobs.url import path_of
from millhand.jobs.watch import Watch
from millhand.policy.retry import Retry

Function = TypeVar("Function", bound=Callable[..., Any])


class Jobs:
    """Functions whose calls are kept in a database until they have run, whatever happens to the process.

    A `Jobs` submits and reads; only a `Runner` runs. Making one and registering touch no database: it is
    opened by the first submit or read, so a module with a `Jobs` can be imported anywhere.

    Args:
        url: `sqlite:///work.db` (a path relative to the working directory; four slashes: an absolute one),
            or `sqlite://`, a private temporary file that goes with this object.
        limit: refuse submits with QueueFull while this many jobs wait; None: no bound.

    Raises:
        ValueError: when the URL is none of these.

    Example:
        >>> jobs = Jobs("sqlite://")
        >>> @jobs.register
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> jobs.submit(double, 21).state
        <JobState.PENDING: 'pending'>
        >>> jobs.close()
    """

    def __init__(self, url: str, *, limit: int | None = None) -> None:
        self.url, self.limit = url, limit
        self.registry = Registry()
        self._path = path_of(url)
        self._declared: list[str] = []
        self._opening = threading.Lock()
        self._opened: tuple[Store, Watch] | None = None

    @property
    def store(self) -> Store:
        """The database behind this. Raises StoreError when it cannot be opened."""
        return self._open()[0]

    @property
    def watch(self) -> Watch:
        """What tells when jobs have ended."""
        return self._open()[1]

    @overload
    def register(self, function: Function, /) -> Function: ...
    @overload
    def register(
        self,
        name: str | None = None,
        /,
        *,
        timeout: Seconds | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        retry: Retry | None = None,
    ) -> Callable[[Function], Function]: ...
    def register(
        self,
        function_or_name: Any = None,
        /,
        *,
        timeout: Seconds | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        retry: Retry | None = None,
    ) -> Any:
        """Make a function a job type: `@jobs.register`, `@jobs.register("name")` or `@jobs.register("job-*")`.

        The function itself is returned unchanged. `timeout`, `max_attempts` and `retry` are what its jobs
        get unless a submit says otherwise.

        Raises:
            ValueError, TypeError: see `Registry.add`.
        """
        if callable(function_or_name):
            self.registry.add(function_or_name)
            return function_or_name

        def add(function: Function) -> Function:
            self.registry.add(function, function_or_name, timeout=timeout, max_attempts=max_attempts, retry=retry)
            return function

        return add

    def submit(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> JobHandle:
        """Keep a call of this function (or of the type with this name); return when it is on disk.

        Raises:
            UnknownJobType: when it is not registered here.
            BadArguments: when its signature refuses the arguments; nothing was kept.
            QueueFull: when `limit` jobs wait already; nothing was kept.
            StoreError: when the database refused; nothing was kept.
        """
        return self._submit(JobOptions(), function, args, kwargs)

    def with_options(
        self,
        *,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        delay: Seconds = 0.0,
        timeout: Seconds | None = None,
        max_attempts: int | None = None,
    ) -> JobsView:
        """Return a view of this whose submits carry these options (see `JobOptions`). Raises ValueError."""
        options = JobOptions(queue=queue, priority=priority, delay=delay, timeout=timeout, max_attempts=max_attempts)
        return JobsView(self, options)

    def handle(self, id: str) -> JobHandle:
        """Return a handle for a job that was submitted earlier, or elsewhere; nothing is looked up yet."""
        return JobHandle(id, self.store, self.watch)

    def move_to(self, url: str) -> None:
        """Use another database than the one named at construction.

        Raises:
            ValueError: for a URL that names none, or when this has been opened already.
        """
        if self._opened is not None:
            raise ValueError(f"{self.url} is in use already; choose the database before the first submit or read")
        self.url, self._path = url, path_of(url)

    def draft(
        self, type: str, payload: bytes | str | None, options: JobOptions | None = None, *, id: str | None = None
    ) -> NewJob:
        """Return a job ready for `store.intake.enqueue`, its payload (JSON) checked and options filled in.

        A type that only a runner elsewhere has declared is accepted too; its arguments are checked there.

        Args:
            type: the name of the job's type.
            payload: an object is keyword arguments, an array positional ones, None no arguments.
            options: what the submit says about the job.
            id: a UUID made by the submitter, so that submitting can be repeated; None: a new one.

        Raises:
            UnknownJobType, BadArguments: when nobody could run this.
            ValueError: when the id is none.
        """
        registered = self.registry.find(type)
        if registered is not None:
            checked = registered.signature.check(payload)
        elif self._is_declared(type):
            checked = _unknown_signature(type).check(payload)
        else:
            raise UnknownJobType(type, tuple({*self.registry.names, *self._declared}))
        return make_draft(type, checked, registered, options or JobOptions(), id)

    def close(self) -> None:
        """Close the database, if it was opened. Idempotent."""
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            store, watch = opened
            watch.close()
            store.housekeeping.close()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> tuple[Store, Watch]:
        opened = self._opened
        if opened is None:
            with self._opening:
                if self._opened is None:
                    store = SqliteStore(self._path)
                    self._opened = store, Watch(store)
                opened = self._opened
        return opened

    def _is_declared(self, type: str) -> bool:
        """Tell whether a runner elsewhere has declared this type; the store is asked only about new ones."""
        if not self.registry.matches(type, self._declared):
            self._declared = self.store.reading.types()
        return self.registry.matches(type, self._declared)

    def _submit(self, options: JobOptions, function: Any, args: Any, kwargs: Any) -> JobHandle:
        name = function if isinstance(function, str) else self.registry.name_of(function)
        registered = self.registry.get(name)
        job = make_draft(name, registered.signature.bind(args, kwargs), registered, options)
        [refusal] = self.store.intake.enqueue([job], limit=self.limit)
        if refusal is not None:
            raise refusal
        return self.handle(job.id)


class JobsView:
    """A `Jobs` whose submits carry options."""

    def __init__(self, jobs: Jobs, options: JobOptions) -> None:
        self._jobs, self._options = jobs, options

    def submit(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> JobHandle:
        """See `Jobs.submit`."""
        return self._jobs._submit(self._options, function, args, kwargs)  # noqa: SLF001 - one class, two faces


def open_store(url: str) -> Store:
    """Open the database that a URL names. Raises ValueError or StoreError."""
    return SqliteStore(path_of(url))


@lru_cache(maxsize=1_000)
def _unknown_signature(type: str) -> FunctionSignature:
    def anything(**arguments: Any) -> None:
        """Stand for a function of another program: only the form of the payload can be checked here."""

    return FunctionSignature(anything, type)
