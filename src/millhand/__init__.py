"""Run Python functions with bounded concurrency: now, in a pool, or for certain, as kept jobs."""

from millhand.core.errors import MillhandError, PoolClosed, QueueFull, TaskTimeout
from millhand.pool import Future, PoolStats, ThreadPool

__all__ = [
    "Future",
    "MillhandError",
    "PoolClosed",
    "PoolStats",
    "QueueFull",
    "TaskTimeout",
    "ThreadPool",
]
