"""Run Python functions with bounded concurrency: now, in a pool, or for certain, as kept jobs."""

from typing import TYPE_CHECKING

from millhand.core.errors import (
    MillhandError,
    NestedWaitLimit,
    PoolClosed,
    QueueFull,
    TaskCancelled,
    TaskDropped,
    TaskTimeout,
)
from millhand.pool import (
    Future,
    Group,
    Interrupted,
    PoolStats,
    PoolView,
    SubPool,
    ThreadPool,
    check_cancelled,
    current_task,
)

if TYPE_CHECKING:
    from millhand.pool.coroutine import CoroutinePool

__all__ = [
    "CoroutinePool",
    "Future",
    "Group",
    "Interrupted",
    "MillhandError",
    "NestedWaitLimit",
    "PoolClosed",
    "PoolStats",
    "PoolView",
    "QueueFull",
    "SubPool",
    "TaskCancelled",
    "TaskDropped",
    "TaskTimeout",
    "ThreadPool",
    "check_cancelled",
    "current_task",
]

if not TYPE_CHECKING:  # or every name would pass for one of ours

    def __getattr__(name: str) -> object:
        """Import CoroutinePool when it is asked for: it needs asyncio, which would double the time of the import."""
        if name == "CoroutinePool":
            from millhand.pool.coroutine import CoroutinePool  # noqa: PLC0415 - as said

            return CoroutinePool
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
