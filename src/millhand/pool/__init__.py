"""Work done here: pools that run calls in this process."""

from typing import TYPE_CHECKING

from millhand.pool.current import check_cancelled, current_task
from millhand.pool.future import Future
from millhand.pool.interrupt import Interrupted
from millhand.pool.pool import Group, Pool, PoolView, SubPool
from millhand.pool.stats import Histogram, PoolStats, SlowTask, WorkerStats
from millhand.pool.task import Task
from millhand.pool.thread import ThreadPool

if TYPE_CHECKING:
    from millhand.pool.coroutine import CoroutinePool
    from millhand.pool.process.pool import ProcessPool

__all__ = [
    "CoroutinePool",
    "Future",
    "Group",
    "Histogram",
    "Interrupted",
    "Pool",
    "PoolStats",
    "PoolView",
    "ProcessPool",
    "SlowTask",
    "SubPool",
    "Task",
    "ThreadPool",
    "WorkerStats",
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
