"""The call of a task that is run by a process, as it stands in the place of the task's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pickle import PickleBuffer, dumps, loads
from typing import Any

from millhand.pool.current import here
from millhand.pool.process.luggage import Values, call_with
from millhand.pool.process.parcel import TYPED_IN, Parcel, dump, expect_small
from millhand.pool.process.shared import take_noticed


class Packed(Parcel):
    """This is a call that was pickled; to call it is to have a process run it, and to wait for that.

    Args:
        fn, args, kwargs: the call.
        values: contextvars that go along.

    Raises:
        NotPicklable: it cannot be pickled.
    """

    __slots__ = ("_fn",)

    def __init__(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], values: Values = ()
    ) -> None:
        self._fn = fn
        call: object = (call_with, (values, fn, args, kwargs), {}) if values else (fn, args, kwargs)
        # As `pack`, in one piece: it is half of what a submit costs.
        self.buffers: Sequence[PickleBuffer] = ()
        try:
            self.data = _try(call)
        except Exception:  # noqa: BLE001 - something large, or what pickle cannot do
            self.data, self.buffers = dump(call, lambda: f"the call of {name_of(fn)}")
        self.shares = take_noticed()

    def __getattr__(self, name: str) -> Any:
        return name_of(self._fn) if name == "__qualname__" else getattr(self._fn, name)

    def __call__(self) -> Any:
        """Have it run by the process of this worker; without one, here, on copies."""
        worker = here.worker
        run: Callable[[Packed], Any] | None = getattr(worker, "run_packed", None)
        if run is not None:
            return run(self)
        # In the submitter's thread: `caller_runs`.
        fn, args, kwargs = loads(self.data, buffers=self.buffers)
        return fn(*args, **kwargs)


def _refuse(_: object) -> bytes:
    raise ValueError


_try: Callable[[object], bytes] = _refuse if TYPED_IN else partial(dumps, protocol=5, buffer_callback=expect_small)


def name_of(fn: Callable[..., Any]) -> str:
    """Return a function's qualified name."""
    while isinstance(fn, partial):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__qualname__)
