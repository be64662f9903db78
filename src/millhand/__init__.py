"""Run Python functions with bounded concurrency: now, in a pool, or for certain, as kept jobs."""

from typing import TYPE_CHECKING

from millhand.core.errors import (
    CircuitOpen,
    MillhandError,
    NestedWaitLimit,
    NotPicklable,
    PoolClosed,
    QueueFull,
    RateLimited,
    RetryAfter,
    TaskCancelled,
    TaskDropped,
    TaskTimeout,
    WorkerCrashed,
)
from millhand.policy import Adaptive, Backoff, Breaker, Bulkhead, RateLimit, Retry
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
    from millhand.pool.process.pool import ProcessPool

__all__ = [
    "Adaptive",
    "Backoff",
    "Breaker",
    "Bulkhead",
    "CircuitOpen",
    "CoroutinePool",
    "Future",
    "Group",
    "Interrupted",
    "MillhandError",
    "NestedWaitLimit",
    "NotPicklable",
    "PoolClosed",
    "PoolStats",
    "PoolView",
    "ProcessPool",
    "QueueFull",
    "RateLimit",
    "RateLimited",
    "Retry",
    "RetryAfter",
    "SubPool",
    "TaskCancelled",
    "TaskDropped",
    "TaskTimeout",
    "ThreadPool",
    "WorkerCrashed",
    "check_cancelled",
    "current_task",
]

if not TYPE_CHECKING:  # or every name would pass for one of ours

    def __getattr__(name: str) -> object:
        """Import what not everybody needs when it is asked for: asyncio alone would double the time of the import."""
        if name == "CoroutinePool":
            from millhand.pool.coroutine import CoroutinePool  # noqa: PLC0415 - as said

            return CoroutinePool
        if name == "ProcessPool":
            from millhand.pool.process.pool import ProcessPool  # noqa: PLC0415 - as said

            return ProcessPool
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
