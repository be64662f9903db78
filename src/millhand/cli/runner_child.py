"""The process of a service that runs jobs."""

from __future__ import annotations

import os
import sys

from millhand.cli.child import Assignment, be_child, wait_for_stop
from millhand.runner import Runner


def work(assignment: Assignment) -> None:
    """Run jobs until told to stop."""
    jobs, settings, lifeline, wake = assignment.jobs, assignment.settings, assignment.lifeline, assignment.wake
    runner = Runner(jobs, workers=settings.worker_count, job_timeout=settings.job_timeout, id=assignment.runner)
    wake.listen(runner.duties.claim.note_arrival)
    jobs.store.housekeeping.on_commit(lambda arrived, ended: wake.ring() if ended else None)
    runner.start()
    lifeline.send("ready", runner=runner.id, workers=runner.workers)
    grace = wait_for_stop(lifeline)
    runner.stop(grace)
    jobs.close()
    sys.stderr.flush()
    # Not by falling off the end: a function that never returns would keep the process, and its job was given back.
    os._exit(0)


if __name__ == "__main__":
    be_child("runner", sys.argv[1:], work)
