"""The call of a task that is run by a process, as it stands in the place of the task's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pickle import PickleBuffer, dumps, loads
from types import FunctionType
from typing import Any

from millhand.pool.current import here
from millhand.pool.process.luggage import Values, call_with
from millhand.pool.process.parcel import TYPED_IN, Parcel, dump, expect_small
from millhand.pool.process.shared import Shared, take_noticed

FUNCTIONS = 1_000
"""How many functions are known at a time, here and in a process."""


class Packed(Parcel):
    """This is a call that was pickled; to call it is to have a process run it, and to wait for that.

    Args:
        fn, args, kwargs: the call.
        values: contextvars that go along.

    Raises:
        NotPicklable: it cannot be pickled.
    """

    __slots__ = ("_fn", "head")

    def __init__(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], values: Values = ()
    ) -> None:
        self._fn = fn
        # As `pack`, in one piece: it is half of what a submit costs.
        head = _heads.get(fn) if type(fn) is FunctionType and not values else b""
        self.head: bytes = _head_of(fn) if head is None else head
        """The function's own pickle, where it travels apart, so that it is written and read only once; else empty."""
        self.buffers: Sequence[PickleBuffer] = ()
        self.shares: tuple[Shared, ...] = ()
        if self.head:
            if not (args or kwargs):
                self.data = b""
                return
            call: object = (args, kwargs)
        else:
            call = (call_with, (values, fn, args, kwargs), {}) if values else (fn, args, kwargs)
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
        return call_packed(self.data and loads(self.data, buffers=self.buffers), self._fn if self.head else None)


def call_packed(call: Any, fn: Callable[..., Any] | None) -> Any:
    """Call what was unpickled: function, arguments and keyword arguments; or the latter two; or nothing."""
    if fn is None:
        fn, args, kwargs = call
    elif call:
        args, kwargs = call
    else:
        return fn()
    return fn(*args, **kwargs)


_heads: dict[Callable[..., Any], bytes] = {}


def _head_of(fn: Callable[..., Any]) -> bytes:
    """Return the pickle of a function of a module; nothing, if that is not what it is."""
    if TYPED_IN:
        return b""
    try:
        head = dumps(fn, 5)
    except Exception:  # noqa: BLE001 - then `dump` tries, and says why it cannot
        return b""
    if len(_heads) >= FUNCTIONS:
        _heads.clear()
    _heads[fn] = head
    return head


def _refuse(_: object) -> bytes:
    raise ValueError


_try: Callable[[object], bytes] = _refuse if TYPED_IN else partial(dumps, protocol=5, buffer_callback=expect_small)


def name_of(fn: Callable[..., Any]) -> str:
    """Return a function's qualified name."""
    while isinstance(fn, partial):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__qualname__)
