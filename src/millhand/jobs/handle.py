"""A submitted job from the submitter's side: its state, its result, its end."""

from __future__ import annotations

from typing import Any

from millhand.codec import decode_value
from millhand.core.clock import Seconds
from millhand.core.errors import ErrorInfo, JobCancelled, JobFailed
from millhand.core.job import Job, JobState
from millhand.jobs.store import Store
from millhand.jobs.watch import Watch


class JobHandle:
    """This names a kept job. It holds nothing: any process can make one from the id (`jobs.handle(id)`)."""

    def __init__(self, id: str, store: Store, watch: Watch) -> None:
        self.id = id
        self._store, self._watch = store, watch

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    @property
    def state(self) -> JobState:
        """The job's state, read now. Raises JobNotFound."""
        return self.read().state

    def read(self) -> Job:
        """Return all that is kept about the job. Raises JobNotFound."""
        return self._store.reading.get(self.id)

    def result(self, timeout: Seconds | None = None) -> Any:
        """Wait for the job to end and return what its function returned, as JSON carries it (a tuple is a list).

        Waiting does not run the job: a `Runner` must be at work, in this process or another.

        Raises:
            TimeoutError: when the job has not ended after `timeout` seconds; it goes on.
            JobFailed: when its attempts are spent, with what the last one raised.
            JobCancelled: when it was cancelled.
            JobNotFound: when it does not exist.
        """
        job = self._watch.wait(self.id, timeout)
        match job.state:
            case JobState.COMPLETED:
                return decode_value(job.result or "null")
            case JobState.FAILED:
                raise JobFailed(job.id, job.error or ErrorInfo("Unknown", "no error was kept"))
            case JobState.CANCELLED:
                raise JobCancelled(job.id)
            case _:
                raise TimeoutError(f"job {job.id} is still {job.state} after {timeout:g} s; is a runner at work?")

    def cancel(self) -> bool:
        """Cancel the job if it waits; ask it to stop if it runs. Return False if it had ended before.

        A running function on a thread cannot be stopped from outside: it can look at
        `current_job().cancel_requested`. Whatever ends it first counts.
        """
        job = self._store.control.cancel(self.id)
        return job.state is JobState.CANCELLED or not job.state.is_end
