"""Work done here: pools that run calls in this process."""

from millhand.pool.future import Future
from millhand.pool.stats import PoolStats
from millhand.pool.thread import ThreadPool

__all__ = ["Future", "PoolStats", "ThreadPool"]
