"""Kept jobs: submit and read; a `Runner` (millhand.runner) runs them."""

from millhand.jobs.current import CurrentJob, current_job
from millhand.jobs.draft import JobOptions
from millhand.jobs.handle import JobHandle
from millhand.jobs.jobs import Jobs, JobsView, open_store
from millhand.jobs.registry import JobType, Registry
from millhand.jobs.store import Store
from millhand.jobs.url import path_of
from millhand.jobs.watch import Watch

__all__ = [
    "CurrentJob",
    "JobHandle",
    "JobOptions",
    "JobType",
    "Jobs",
    "JobsView",
    "Registry",
    "Store",
    "Watch",
    "current_job",
    "open_store",
    "path_of",
]
