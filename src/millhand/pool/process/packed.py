"""The call of a task that is run by a process, as it stands in the place of the task's function."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from millhand.pool.current import here
from millhand.pool.process.luggage import Values, call_with
from millhand.pool.process.parcel import Parcel, pack

if TYPE_CHECKING:
    pass


class Packed:
    """This is a call that was pickled; to call it is to have a process run it, and to wait for that.

    Args:
        fn, args, kwargs: the call.
        values: contextvars that go along.

    Raises:
        NotPicklable: it cannot be pickled.
    """

    __slots__ = ("_fn", "parcel")

    def __init__(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], values: Values = ()
    ) -> None:
        self._fn = fn
        call: object = (call_with, (values, fn, args, kwargs), {}) if values else (fn, args, kwargs)
        self.parcel: Parcel = pack(call, lambda: f"the call of {name_of(fn)}")

    def __getattr__(self, name: str) -> Any:
        return name_of(self._fn) if name == "__qualname__" else getattr(self._fn, name)

    def __call__(self) -> Any:
        """Have it run by the process of this worker; without one, here, on copies."""
        worker = here.worker
        run: Callable[[Packed], Any] | None = getattr(worker, "run_packed", None)
        if run is not None:
            return run(self)
        # In the submitter's thread: `caller_runs`.
        fn, args, kwargs = pickle.loads(self.parcel.data, buffers=self.parcel.buffers)
        return fn(*args, **kwargs)


def name_of(fn: Callable[..., Any]) -> str:
    """Return a function's qualified name."""
    while isinstance(fn, partial):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__qualname__)
