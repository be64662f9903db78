"""The vocabulary that every other layer speaks: values only, no threads, files or sockets."""

from millhand.core.clock import Clock, Instant, Seconds, SystemClock
from millhand.core.errors import (
    BadArguments,
    ErrorInfo,
    IllegalMove,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LeaseLost,
    MillhandError,
    PoolClosed,
    QueueFull,
    StoreError,
    TaskTimeout,
    UnknownJobType,
)
from millhand.core.job import ClaimedJob, Job, JobState, NewJob
from millhand.core.outcome import Cancelled, Done, Failed, Outcome, Snoozed, TimedOut

__all__ = [
    "BadArguments",
    "Cancelled",
    "ClaimedJob",
    "Clock",
    "Done",
    "ErrorInfo",
    "Failed",
    "IllegalMove",
    "Instant",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobState",
    "LeaseLost",
    "MillhandError",
    "NewJob",
    "Outcome",
    "PoolClosed",
    "QueueFull",
    "Seconds",
    "Snoozed",
    "StoreError",
    "SystemClock",
    "TaskTimeout",
    "TimedOut",
    "UnknownJobType",
]
